"""Functions between two 8-bit tensors become tables of 256 codes.

    quantize(f(dequantize(x)))  =>  take(table, x),   table[i] = quantize(f(dequantize(i)))

for any chain ``f`` of elementwise operations on one per-tensor quantized tensor and scalars.
"""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from hago.annotate.operators import is_unary
from hago.dataflow import Dataflow, Node, read_dataflow
from hago.realize.interpret import evaluate
from hago.rebuild import Values, rebuild, substitute
from hago.scheme import Array


def tabulate(module: ir.IRModule) -> ir.IRModule:
    """``module`` with every such chain replaced; what it leaves unused is removed."""
    dataflow = read_dataflow(module)
    chains = {node.name: chain for node in dataflow.nodes if (chain := _chain(dataflow, node))}

    def rewrite(
        builder: relax.BlockBuilder, binding: relax.Binding, values: Values
    ) -> relax.Expr:
        chain = chains.get(str(binding.var.name))
        if chain is None:
            return substitute(binding.value, values)
        codes = substitute(chain[0].call.args[0], values)
        index = builder.emit(relax.op.astype(codes, "int32"))
        if str(chain[0].call.args[0].ty.dtype) == "int8":
            index = builder.emit(relax.op.add(index, relax.const(np.int32(128))))
        return relax.op.take(relax.const(_table(chain)), index, axis=0, mode="clip")

    return relax.transform.DeadCodeElimination()(rebuild(module, rewrite))


def _chain(dataflow: Dataflow, last: Node) -> list[Node] | None:
    """dequantize, f.., quantize: the operations that lead to ``last``, or None."""
    if last.op != "quantize" or last.dtype not in ("uint8", "int8") or not _is_scalar(last):
        return None
    nodes, users = dataflow.by_name(), dataflow.users()
    chain = [last]
    while True:
        node = nodes.get(_variable(chain[0]))
        if node is None:
            return None
        if node.op == "dequantize":
            is_table = _is_scalar(node) and len(chain) > 1 and _is_byte(node)
            return [node, *chain] if is_table else None
        if not is_unary(node) or not _is_scalar(node) or len(users[node.name]) != 1:
            return None
        chain.insert(0, node)


def _variable(node: Node) -> str:
    return next(name for arg, name in enumerate(node.inputs) if arg not in node.constants)


def _is_scalar(node: Node) -> bool:
    return all(value.size == 1 for value in node.constants.values())


def _is_byte(node: Node) -> bool:
    return str(node.call.args[0].ty.dtype) in ("uint8", "int8")


def _table(chain: list[Node]) -> Array:
    """The last code for each code of the first, lowest first."""
    dtype = str(chain[0].call.args[0].ty.dtype)
    bounds = np.iinfo(dtype)
    values = {_variable(chain[0]): np.arange(bounds.min, bounds.max + 1).astype(dtype)}
    for node in chain:
        values[node.name] = evaluate(node.value, values)
    return values[chain[-1].name]
