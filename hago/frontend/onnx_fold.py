"""Nodes whose result is known at import: evaluated by ONNX's own reference implementation.

Exporters compute shapes, masks and repacked weights in the graph. With every input shape fixed
these are constants, and what is left is the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx.helper

from hago.frontend.onnx_node import Array, Node, constant_of

# Weights stay integers with their dequantization beside them; branches are taken by the importer.
_NOT_FOLDED = frozenset({"DequantizeLinear", "If", "Loop", "Scan"})


def folded(proto: onnx.NodeProto, node: Node) -> tuple[Array, ...] | None:
    """Values of the node's outputs if they do not depend on the model's inputs, else None."""
    if proto.op_type in _NOT_FOLDED or proto.domain not in ("", "ai.onnx"):
        return None
    if proto.op_type in ("Shape", "Size"):
        return (_shape_value(node),)
    operands = [constant_of(x) for x in node.inputs if x is not None]
    known = [x for x in operands if x is not None]
    return _evaluate(proto, known, node.opset) if len(known) == len(operands) else None


def _shape_value(node: Node) -> Array:
    shape = np.array(node.shape(0), np.int64)
    if node.op == "Size":
        return np.asarray(np.prod(shape), np.int64)
    start, end = int(node.number("start", 0)), int(node.number("end", len(shape)))
    return shape[start:end]


def _evaluate(proto: onnx.NodeProto, operands: Sequence[Array], opset: int) -> tuple[Array, ...]:
    from onnx.reference import ReferenceEvaluator  # 0.2 s to import, and few models need it

    names = [name for name in proto.input if name]
    values = [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in names]
    outputs = [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in proto.output if name]
    graph = onnx.helper.make_graph(
        [proto], "constant", list({v.name: v for v in values}.values()), outputs
    )
    opsets = [onnx.helper.make_opsetid("", opset)]
    evaluator = ReferenceEvaluator(onnx.helper.make_model(graph, opset_imports=opsets))
    return tuple(
        np.asarray(v) for v in evaluator.run(None, dict(zip(names, operands, strict=True)))
    )
