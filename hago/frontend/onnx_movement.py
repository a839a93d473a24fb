"""Converters for operators that move data: pad, tile, gather, resize."""

from __future__ import annotations

import numpy as np
from tvm import relax

from hago.frontend.onnx_node import Node, NotConvertible, constant, constant_of, converts
from hago.frontend.onnx_operators import tvm_converter


@converts("Pad")
def pad(node: Node) -> relax.Expr:
    """Constant or reflected borders; edge and wrap read elements again; negative pads crop."""
    mode, widths = node.text("mode", "constant"), _pad_widths(node)
    if mode in ("edge", "wrap"):
        return _read_again(node, widths, mode)
    x = _cropped(node, widths)
    widths = [max(width, 0) for width in widths]
    value = float(node.array(2).item()) if node.has(2) else 0.0
    return relax.op.nn.pad(x, widths, mode, value) if any(widths) else x


def _cropped(node: Node, widths: list[int]) -> relax.Expr:
    """The input without what negative pads take away."""
    shape, pairs = node.shape(0), list(zip(widths[::2], widths[1::2], strict=True))
    if min(widths) >= 0:
        return node.input(0)
    begin = [max(-before, 0) for before, _ in pairs]
    end = [size + min(after, 0) for size, (_, after) in zip(shape, pairs, strict=True)]
    return node.emit(relax.op.strided_slice(node.input(0), list(range(len(shape))), begin, end))


def _read_again(node: Node, widths: list[int], mode: str) -> relax.Expr:
    """The input's elements at the indices that the border repeats, one axis after the other."""
    x = node.input(0)
    for axis, size in enumerate(node.shape(0)):
        before, after = widths[2 * axis : 2 * axis + 2]
        index = np.arange(-before, size + after)
        if before or after:
            index = index % size if mode == "wrap" else np.clip(index, 0, size - 1)
            x = node.emit(relax.op.take(x, constant(index.astype(np.int64)), axis, mode="clip"))
    return x


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
    _check_resize(node)
    given = tuple(None if _is_empty(x) else x for x in node.inputs)
    cleaned = Node(
        node.op, node.name, given, node.attributes, node.outputs, node.opset, node.builder
    )
    return tvm_converter("Resize")(cleaned)


def _check_resize(node: Node) -> None:
    """Resampling is by the ratio of sizes, without a filter in front."""
    if node.number("antialias", 0):
        raise NotConvertible("antialias=1")
    scales = constant_of(node.inputs[2]) if node.opset >= 11 and node.has(2) else None
    if scales is None or scales.size == 0:
        return
    sizes = np.array(node.shape(0)) * scales.astype(np.float64)
    if np.any(np.abs(sizes - np.round(sizes)) > 1e-3):
        raise NotConvertible(
            f"{' x '.join(map(str, node.shape(0)))} elements times {scales.tolist()} are no whole "
            "numbers"
        )


def _is_empty(x: relax.Expr | None) -> bool:
    """Older exporters write "not given" as an empty tensor."""
    value = constant_of(x)
    return value is not None and value.size == 0


@converts("Gather")
def gather(node: Node) -> relax.Expr:
    """Elements along an axis."""
    x, shape = node.input(0), node.shape(0)
    axis = int(node.number("axis", 0)) % len(shape)
    indices = constant_of(node.input(1))
    if indices is None:
        # ONNX counts negative indices from the end, which is what wrapping does.
        return relax.op.take(x, node.input(1), axis, mode="wrap")
    if np.any(indices >= shape[axis]) or np.any(indices < -shape[axis]):
        raise NotConvertible(f"an index is outside the {shape[axis]} elements of axis {axis}")
    positive = indices.astype(np.int64) % shape[axis]
    return relax.op.take(x, constant(positive), axis, mode="clip")


@converts("SpaceToDepth")
def space_to_depth(node: Node) -> relax.Expr:
    """Blocks of pixels as channels: the place in a block first, or the channel (mode CRD)."""
    batch, channels, height, width = node.shape(0)
    size = int(node.number("blocksize", 1))
    apart = (batch, channels, height // size, size, width // size, size)
    order = [0, 1, 3, 5, 2, 4] if node.text("mode", "DCR") == "CRD" else [0, 3, 5, 1, 2, 4]
    moved = relax.op.permute_dims(node.emit(relax.op.reshape(node.input(0), apart)), order)
    whole = (batch, channels * size * size, height // size, width // size)
    return relax.op.reshape(node.emit(moved), whole)
