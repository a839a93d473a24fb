"""The operators that can be imported, and the complete list of those in a model that cannot."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import onnx
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from hago.errors import ModelError
from hago.frontend.onnx_node import CONVERTERS, Converter, Node

# Shapes that depend on data, sequences and control flow have no static dataflow form. Those in
# _FOLDABLE are fine where their inputs are constants, as in exported shape arithmetic.
_FOLDABLE = frozenset({"Compress", "Constant", "NonZero", "Unique", "If"})
_NOT_STATIC = frozenset(
    {
        "AllClassNMS",
        "ConcatFromSequence",
        "NonMaxSuppression",
        "Optional",
        "OptionalGetElement",
        "OptionalHasElement",
        "SequenceAt",
        "SequenceConstruct",
        "SequenceEmpty",
        "SequenceErase",
        "SequenceInsert",
        "SequenceLength",
        "SplitToSequence",
    }
)


@cache
def _tvm_table() -> dict[str, type[onnx_frontend.OnnxOpConverter]]:
    table: dict[str, type[onnx_frontend.OnnxOpConverter]] = onnx_frontend._get_convert_map()
    return table


def tvm_converter(op: str) -> Converter:
    """TVM's converter for `op` in the form of ours."""

    def convert(node: Node) -> relax.Expr | tuple[relax.Expr, ...]:
        implementation = _tvm_table()[op].get_converter(node.opset)
        operands = onnx_frontend.onnx_input(node.inputs)
        extra = {"tvm_custom": {"name": node.name, "num_outputs": node.outputs}}
        result = implementation(node.builder, operands, {**node.attributes, **extra}, [{}, {}])
        return _parts(node.builder.normalize(result), node)

    return convert


def _parts(result: relax.Expr, node: Node) -> relax.Expr | tuple[relax.Expr, ...]:
    if isinstance(result, relax.Tuple):
        return tuple(result.fields)
    if isinstance(result.ty, relax.TupleType):
        bound = node.emit(result)
        return tuple(relax.TupleGetItem(bound, i) for i in range(len(bound.ty.fields)))
    return result


def check_operators(graph: onnx.GraphProto, path: Path) -> None:
    """Pass if every operator, in branches and loop bodies too, can be imported.

    Raises:
        ModelError: names every operator that cannot be, each with all its nodes.
    """
    unsupported: dict[str, list[str]] = {}
    for node in _all_nodes(graph):
        if not is_supported(node.domain, node.op_type):
            label = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            unsupported.setdefault(label, []).append(node.name or ", ".join(node.output))
    if not unsupported:
        return
    plural = "operators are" if len(unsupported) > 1 else "operator is"
    raise ModelError(
        f"{path}: {len(unsupported)} {plural} not supported",
        fact="\n  ".join(f"{op}: {', '.join(names)}" for op, names in sorted(unsupported.items())),
        way_out="Export the model without them, or cut it there (onnx.utils.extract_model).",
    )


def is_supported(domain: str, op: str) -> bool:
    """Whether nodes of this operator can be imported at all."""
    if (("" if domain == "ai.onnx" else domain), op) in CONVERTERS:
        return True
    is_standard = domain in ("", "ai.onnx")
    return is_standard and op not in _NOT_STATIC and (op in _FOLDABLE or op in _tvm_table())


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _all_nodes(body)
