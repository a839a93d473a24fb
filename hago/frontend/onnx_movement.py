"""Converters for operators that move data: pad, tile, gather, resize."""

from __future__ import annotations

import numpy as np
from tvm import relax

from hago.frontend.onnx_node import Node, NotConvertible, constant, constant_of, converts
from hago.frontend.onnx_operators import tvm_converter


@converts("Pad")
def pad(node: Node) -> relax.Expr:
    """Constant or reflected borders; edge and wrap have no Relax operator."""
    mode = node.text("mode", "constant")
    if mode not in ("constant", "reflect"):
        raise NotConvertible(f"mode {mode!r} has no Relax operator")
    widths = _pad_widths(node)
    if any(width < 0 for width in widths):
        raise NotConvertible("negative pads; use Slice to crop")
    value = float(node.array(2).item()) if node.has(2) else 0.0
    if not any(widths):
        return node.input(0)
    return relax.op.nn.pad(node.input(0), widths, mode, value)


def _pad_widths(node: Node) -> list[int]:
    """(before, after) for each axis in order, as Relax has them."""
    before, after = np.split(node.array(1).astype(np.int64), 2)
    rank = len(node.shape(0))
    axes = node.array(3).tolist() if node.has(3) else range(rank)
    widths = np.zeros((rank, 2), np.int64)
    for axis, low, high in zip(axes, before, after, strict=True):
        widths[axis] = low, high
    return [int(w) for w in widths.ravel()]


@converts("Tile")
def tile(node: Node) -> relax.Expr:
    """The tensor repeated along each axis."""
    return relax.op.tile(node.input(0), [int(r) for r in node.array(1)])


@converts("Resize")
def resize(node: Node) -> relax.Expr | tuple[relax.Expr, ...]:
    """Resize of the two spatial axes of an NCHW tensor."""
    if len(node.shape(0)) != 4:
        raise NotConvertible("only 4-D tensors can be resized")
    given = tuple(None if _is_empty(x) else x for x in node.inputs)
    cleaned = Node(
        node.op, node.name, given, node.attributes, node.outputs, node.opset, node.builder
    )
    return tvm_converter("Resize")(cleaned)


def _is_empty(x: relax.Expr | None) -> bool:
    """Older exporters write "not given" as an empty tensor."""
    value = constant_of(x)
    return value is not None and value.size == 0


@converts("Gather")
def gather(node: Node) -> relax.Expr:
    """Elements along an axis; a constant run of them is a slice."""
    x, shape = node.input(0), node.shape(0)
    axis = int(node.number("axis", 0)) % len(shape)
    indices = constant_of(node.input(1))
    if indices is None:
        # ONNX counts negative indices from the end, which is what wrapping does.
        return relax.op.take(x, node.input(1), axis, mode="wrap")
    if np.any(indices >= shape[axis]) or np.any(indices < -shape[axis]):
        raise NotConvertible(f"an index is outside the {shape[axis]} elements of axis {axis}")
    indices = indices.astype(np.int64) % shape[axis]
    first = int(indices.flat[0])
    if not np.array_equal(indices.ravel(), np.arange(first, first + indices.size)):
        return relax.op.take(x, constant(indices), axis)
    run = relax.op.strided_slice(x, [axis], [first], [first + indices.size])
    return relax.op.reshape(run, (*shape[:axis], *indices.shape, *shape[axis + 1 :]))
