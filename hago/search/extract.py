"""One sub-graph in one configuration as a module of its own, realized, ready to be measured.

    x -> quantize -> conv2d .. -> y -> quantize -> (the next)   =>   main(codes of x): codes of y

What the neighbours fuse is theirs: codes come in as codes, and go out as the readers take them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from tvm import ir, relax

from hago.dataflow import Dataflow, Node, flat_args, read_dataflow, tensor_type
from hago.graph import Edge, QuantGraph, QuantModel
from hago.realize import realize_qdq
from hago.realize.insert import insert_qdq
from hago.realize.qdq import quantize
from hago.rebuild import Values, emit, rebuild, substitute
from hago.scheme import TensorQuant

_NARROWING = ("quantize", "astype")  # what an entry that comes in codes loses


def extract(model: QuantModel, operations: Iterable[str]) -> ir.IRModule:
    """The realized module of ``operations`` (prepared bindings) as ``model`` computes them."""
    inside = frozenset(operations)
    dataflow = read_dataflow(model.graph.module)
    part = _codes_in(_codes_out(qdq_part(model, inside), model, dataflow, inside))
    return realize_qdq(part, model.graph.requantize)


def qdq_part(model: QuantModel, operations: Iterable[str]) -> ir.IRModule:
    """``operations`` alone, in QDQ form: floats come in and go out."""
    inside = frozenset(operations)
    module = _submodule(model.graph.module, read_dataflow(model.graph.module), inside)
    return insert_qdq(_restricted(model, module, inside))


def digest(model: QuantModel, operations: Iterable[str]) -> str:
    """What :func:`extract` would give, names and values aside: equal ones are equally fast."""
    inside = frozenset(operations)
    dataflow = read_dataflow(model.graph.module)
    names: dict[str, str] = {}
    lines = []
    for node in (node for node in dataflow.nodes if node.name in inside):
        for name in node.inputs:
            names.setdefault(name, f"in{len(names)}")
        lines.append(_line(model, node, names))
        names[node.name] = f"v{len(names)}"
    lines += [
        f"out {names[name]} {quant.scheme if quant else ''}"
        for name in _exits(dataflow, inside)
        for quant in [_exit_quant(model, dataflow, name, inside)]
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _line(model: QuantModel, node: Node, names: Mapping[str, str]) -> str:
    """An operation with its attributes, the types of its operands, and their schemes."""
    operands = []
    for arg, (name, leaf) in enumerate(zip(node.inputs, flat_args(node.value), strict=True)):
        scheme = model.strategy.get(Edge(name, node.name, arg))
        shown = "const" if arg in node.constants else names[name]
        operands.append(f"{shown}:{tensor_type(leaf)}:{scheme or ''}")
    is_call = isinstance(node.value, relax.Call)
    attributes = ir.save_json(node.value.attrs) if is_call and node.value.attrs else ""
    return f"{node.op} {node.shape} {node.dtype} {attributes} {operands}"


def _submodule(module: ir.IRModule, dataflow: Dataflow, inside: frozenset[str]) -> ir.IRModule:
    """The operations alone: parameters are named as the values that they stand for."""
    builder = relax.BlockBuilder()
    params = _entries(module, dataflow, inside)
    values: dict[str, relax.Expr] = dict(params)
    with builder.function("main", list(params.values())):
        with builder.dataflow():
            for node in dataflow.nodes:
                if node.name in inside:
                    values[node.name] = emit(builder, substitute(node.value, values), node.name)
            results = [
                builder.emit_output(values[name], name_hint=f"{name}_result")
                for name in _exits(dataflow, inside)
            ]
        builder.emit_func_output(relax.Tuple(results))
    return builder.get()


def _entries(
    module: ir.IRModule, dataflow: Dataflow, inside: frozenset[str]
) -> dict[str, relax.Var]:
    """New parameters for the values that come from outside, in the order of their use."""
    types = {str(param.name): param.ty for param in module["main"].params}
    for block in module["main"].body.blocks:
        types.update({str(binding.var.name): binding.var.ty for binding in block.bindings})
    read = (
        name
        for node in dataflow.nodes
        if node.name in inside
        for arg, name in enumerate(node.inputs)
        if arg not in node.constants and name not in inside
    )
    return {name: relax.Var(name, types[name]) for name in dict.fromkeys(read)}


def _exits(dataflow: Dataflow, inside: frozenset[str]) -> list[str]:
    """The values that others read, in program order."""
    users = dataflow.users()
    return [
        node.name
        for node in dataflow.nodes
        if node.name in inside and any(dst not in inside for dst, _ in users.get(node.name, ()))
    ]


def _restricted(model: QuantModel, module: ir.IRModule, inside: frozenset[str]) -> QuantModel:
    strategy = {edge: scheme for edge, scheme in model.strategy.items() if edge.dst in inside}
    graph = QuantGraph(module, {}, {}, (), model.graph.requantize, model.graph.spec)
    quants = {edge: model.quants[edge] for edge in strategy}
    weights = {edge: codes for edge, codes in model.weights.items() if edge in strategy}
    biases = {edge: bias for edge, bias in model.biases.items() if edge.dst in inside}
    return QuantModel(graph, strategy, quants, weights, biases)


def _exit_quant(
    model: QuantModel, dataflow: Dataflow, name: str, inside: frozenset[str]
) -> TensorQuant | None:
    """The numbers in which all readers outside take ``name``; None where one takes floats."""
    edges = [Edge(name, dst, arg) for dst, arg in dataflow.users()[name] if dst not in inside]
    if any(edge not in model.strategy for edge in edges):
        return None
    quants = [model.quants[edge] for edge in edges]
    first = quants[0]
    same = all(q.scheme == first.scheme and q.scale == first.scale for q in quants)
    return first if same else None


def _codes_out(
    part: ir.IRModule, model: QuantModel, dataflow: Dataflow, inside: frozenset[str]
) -> ir.IRModule:
    exits = dict(zip(_names(part), _exits(dataflow, inside), strict=True))

    def finish(builder: relax.BlockBuilder, name: str, values: Values) -> relax.Expr:
        quant = _exit_quant(model, dataflow, exits[name], inside)
        return values[name] if quant is None else quantize(builder, values[name], quant)

    return rebuild(part, _same, finish=finish)


def _codes_in(part: ir.IRModule) -> ir.IRModule:
    """Entries that are only ever narrowed come narrow."""
    narrowed = _narrowed_entries(read_dataflow(part))
    fresh = {node.name: relax.Var(f"{node.name}_in", node.value.ty) for node in narrowed}

    def rewrite(
        builder: relax.BlockBuilder, binding: relax.Binding, values: Values
    ) -> relax.Expr:
        name = str(binding.var.name)
        return fresh[name] if name in fresh else substitute(binding.value, values)

    result = rebuild(part, rewrite, params=list(fresh.values()))
    main = result["main"]
    gone = {node.inputs[0] for node in narrowed}
    params = [param for param in main.params if str(param.name) not in gone]
    result["main"] = relax.Function(params, main.body, main.ret_ty, attrs=main.attrs)
    return result


def _narrowed_entries(dataflow: Dataflow) -> list[Node]:
    users, nodes = dataflow.users(), dataflow.by_name()
    found = []
    for param in dataflow.params:
        readers = {dst for dst, _ in users.get(param, ())}
        node = nodes.get(next(iter(readers), ""))
        if len(readers) == 1 and node is not None and node.op in _NARROWING:
            found.append(node)
    return found


def _same(_: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
    return substitute(binding.value, values)


def _names(module: ir.IRModule) -> tuple[str, ...]:
    return read_dataflow(module).outputs
