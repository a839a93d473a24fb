"""Which operations become the loops of a kernel, and the workload each of them is.

One row an operation: it gives the :class:`Anchor`, or None where no kernel of ours computes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hago.codegen.workload import (
    BatchMatmul,
    Conv2d,
    GroupedMatmul,
    GroupNorm,
    Matmul,
    Permute,
    Pool2d,
    RowReduce,
    Table,
    Workload,
)
from hago.dataflow import Node
from hago.float8 import KINDS
from hago.lower.expression import Expression, Source, Value
from hago.lower.grouped import GroupedProduct, grouped_product
from hago.lower.view import View
from hago.pairs import are_paired, is_overlapping, runs_of
from hago.scheme import Array
from hago.shifted_exp import ShiftedExp, is_last_axis, shifted_exp

CODES = ("uint8", "int8")
NARROW_FLOATS = ("bfloat16", *KINDS)  # in memory
_SUMMED = (*CODES, *NARROW_FLOATS, "float32")
# Steps that the anchor itself needs before any epilogue (a mean's divisor).
Prologue = Callable[[Expression, Value], Value]
Row = Callable[[View, Node], "Anchor | None"]


def _unchanged(expression: Expression, accumulator: Value) -> Value:
    return accumulator


@dataclass(frozen=True, eq=False)
class Anchor:
    """``workload`` on ``data`` (one tensor, or two for a product of activations) and ``weight``.

    ``shape`` is the kernel's own output shape, ``accumulator`` the dtype of value 0 of the
    epilogue; ``finish`` adds the steps that belong to the operation itself.
    """

    workload: Workload
    data: tuple[Source, ...]
    shape: tuple[int, ...]
    accumulator: str
    weight: Source | None = None
    finish: Prologue = field(default=_unchanged)


def find_anchor(view: View, node: Node) -> Anchor | None:
    """The kernel that ``node`` is the loops of."""
    row = ROWS.get(node.op)
    return row(view, node) if row else None


def _convolution(view: View, node: Node) -> Anchor | None:
    weight = view.weight_of(node, 1)
    if weight is None or str(node.call.attrs.data_layout) != "NHWC":
        return None
    attrs = node.call.attrs
    data, padding, pad_code = _folded_padding(view, node)
    (n, h, w, ci), dtype = view.type_of(data)
    (co, kh, kw, _), weight_dtype = view.weight_type(node, 1)
    workload = Conv2d(
        n, h, w, ci, co, kh, kw,
        strides=_pair(attrs.strides), padding=padding, dilation=_pair(attrs.dilation),
        groups=int(attrs.groups), data=dtype, weight=weight_dtype, pad_code=pad_code,
    )  # fmt: skip
    if not workload.is_depthwise:
        workload = replace(workload, weight=_proven(weight, weight_dtype))
    return Anchor(workload, (data,), workload.output_shape, workload.accum, weight)


def _folded_padding(view: View, node: Node) -> tuple[str, tuple[int, int, int, int], int]:
    """The tensor that is read, how it is padded and with what: a pad in front is folded in."""
    data, own = node.inputs[0], _padding(node.call.attrs.padding)
    pad = view.node(data)
    if pad is None or pad.op != "nn.pad" or str(pad.call.attrs.pad_mode) != "constant":
        return data, own, 0
    value = float(_number(pad.call.attrs.pad_value))
    before_n, after_n, top, bottom, left, right, *channels = (
        int(width) for width in pad.call.attrs.pad_width
    )
    if before_n or after_n or any(channels) or (any(own) and value != 0):
        return data, own, 0
    if value != 0 and pad.dtype == "float32":
        return data, own, 0
    outer = (top, left, bottom, right)
    widths = [a + b for a, b in zip(outer, own, strict=True)]
    return pad.inputs[0], (widths[0], widths[1], widths[2], widths[3]), int(value)


def _matmul(view: View, node: Node) -> Anchor | None:
    if 0 in node.constants:
        return None
    weight = view.weight_of(node, 1)
    if weight is None:
        return _batch_matmul(view, node)
    shape, weight_dtype = view.weight_type(node, 1)
    lhs, dtype = view.type_of(node.inputs[0])
    if len(shape) != 2 or len(lhs) < 1:
        return None
    m = math.prod(lhs[:-1])
    proven = _proven_nibbles(weight, weight_dtype)
    workload = Matmul(m, shape[1], shape[0], data=dtype, weight=proven)
    return Anchor(workload, (node.inputs[0],), workload.output_shape, workload.accum, weight)


def _proven(weight: Source, dtype: str) -> str:
    """``dtype``, or int8_pairs where the constant int8 weights of a convolution are so small: two
    products of neighbours with unsigned bytes fit the pairs of VPMADDUBSW, which saturate."""
    if isinstance(weight, str) or dtype != "int8":
        return dtype
    return "int8_pairs" if are_paired(runs_of(weight), is_overlapping(weight)) else dtype


def _proven_nibbles(weight: Source, dtype: str) -> str:
    """The same of matrices [.., K, N], or int4 where weights have 4 bits: some kernels read them
    two in a byte."""
    if isinstance(weight, str) or dtype != "int8":
        return dtype
    if weight.min() >= -8 and weight.max() <= 7:
        return "int4"
    return "int8_pairs" if are_paired(np.swapaxes(weight, -1, -2)) else dtype


def _batch_matmul(view: View, node: Node) -> Anchor | None:
    if node.constants:
        return None
    (*batch, m, k), dtype = view.type_of(node.inputs[0])
    right, right_dtype = view.type_of(node.inputs[1])
    if list(right[:-2]) != batch or len(right) < 2:
        return None
    workload = BatchMatmul(math.prod(batch), m, right[-1], k, data=dtype, weight=right_dtype)
    data = (node.inputs[0], node.inputs[1])
    return Anchor(workload, data, workload.output_shape, workload.accum)


def _max_pool(view: View, node: Node) -> Anchor | None:
    anchor = _pool(view, node, "max")
    if anchor is None or node.dtype not in NARROW_FLOATS:
        return anchor
    # The largest is one of the elements: it is such a float already.
    op = f"encode_{node.dtype}" if node.dtype in KINDS else node.dtype
    return _finished(
        anchor, lambda expression, value: expression.step(op, value, dtype=node.dtype)
    )


def _average_pool(view: View, node: Node) -> Anchor | None:
    anchor = _pool(view, node, "avg")
    if anchor is None:
        return None
    workload = anchor.workload
    assert isinstance(workload, Pool2d)
    if bool(node.call.attrs.count_include_pad) or not any(workload.padding):
        return _scaled(anchor, 1.0 / (workload.window[0] * workload.window[1]))
    return _scaled_by(anchor, 1.0 / _window_sizes(workload))


def _pool(view: View, node: Node, kind: str) -> Anchor | None:
    attrs = node.call.attrs
    if str(attrs.layout) != "NHWC" or _pair(attrs.dilation) != (1, 1):
        return None
    (n, h, w, c), dtype = view.type_of(node.inputs[0])
    window, strides = _pair(attrs.pool_size), _pair(attrs.strides)
    top, left, bottom, right = _padding(attrs.padding)
    # ceil_mode pads what the last window lacks.
    bottom += (node.shape[1] - 1) * strides[0] + window[0] - (h + top + bottom)
    right += (node.shape[2] - 1) * strides[1] + window[1] - (w + left + right)
    padding = (top, left, max(bottom, 0), max(right, 0))
    workload = Pool2d(kind, n, h, w, c, window, strides, padding, data=dtype)
    return Anchor(workload, (node.inputs[0],), workload.output_shape, workload.accum)


def _window_sizes(workload: Pool2d) -> Array:
    """How many elements of the image each window covers, ``[1, oh, ow, 1]`` float32."""
    counts = []
    for axis, extent in enumerate((workload.h, workload.w)):
        before, after = workload.padding[axis], workload.padding[axis + 2]
        window, stride = workload.window[axis], workload.strides[axis]
        first = np.arange(0, before + extent + after - window + 1, stride) - before
        counts.append(np.minimum(first + window, extent) - np.maximum(first, 0))
    sizes: Array = np.multiply.outer(*counts).astype(np.float32)[None, :, :, None]
    return sizes


def _mean(view: View, node: Node) -> Anchor | None:
    """The mean over axes in front of the last: one window of their size."""
    data = _before_widening(view, node.inputs[0])
    anchor = _axes_sum(view, node, data)
    if anchor is None or node.dtype != "float32":
        return None
    workload = anchor.workload
    assert isinstance(workload, Pool2d)
    return _scaled(anchor, 1.0 / (workload.h * workload.w))


def _before_widening(view: View, name: str) -> str:
    """``name``, or the tensor of codes or narrow floats whose values it is: kernels widen what they
    load."""
    cast = view.node(name)
    if cast is None or cast.op != "astype" or 0 in cast.constants:
        return name
    narrow = {"float32": NARROW_FLOATS, "int32": CODES}.get(cast.dtype, ())
    return cast.inputs[0] if narrow_source(view, cast) in narrow else name


def narrow_source(view: View, node: Node) -> str:
    """The dtype that the dequantize or cast ``node`` reads from memory; "" where it is the second
    of two casts that round to an 8-bit float in registers."""
    source = view.node(node.inputs[0])
    dtype = view.type_of(node.inputs[0])[1]
    return "" if dtype in KINDS and source is not None and source.op == "astype" else dtype


def _sum(view: View, node: Node) -> Anchor | None:
    """A product with weights in groups; or the sum over axes in front of the last, of codes through
    their cast to int32."""
    if (product := grouped_product(view, node)) is not None:
        return _grouped_matmul(view, node, product)
    data = _before_widening(view, node.inputs[0])
    accumulated = "int32" if view.type_of(data)[1] in CODES else "float32"
    if node.dtype != accumulated or view.type_of(data)[1] not in _SUMMED:
        return None
    if is_last_axis(node):
        shape, dtype = view.type_of(data)
        return _row_reduce(RowReduce("sum", math.prod(shape[:-1]), shape[-1], data=dtype), data)
    return _axes_sum(view, node, data)


def _grouped_matmul(view: View, node: Node, product: GroupedProduct) -> Anchor:
    """The chain of hago/realize/grouped.py, from the codes that it reads to its float32 sum."""
    codes, scales = product.codes, product.scales
    groups, *_, size, n = codes.shape
    weight = _proven_nibbles(codes, str(codes.dtype))
    m, dtype = math.prod(node.shape[:-1]), view.type_of(product.data)[1]
    workload = GroupedMatmul(m, n, groups * size, size, data=dtype, weight=weight)
    data = (product.data, scales.reshape(groups, n))
    return Anchor(workload, data, workload.output_shape, "float32", codes)


def _axes_sum(view: View, node: Node, data: str) -> Anchor | None:
    """The sum over consecutive axes in front of the last: a window over the image
    ``[axes before, first of the axes, the others of them, axes behind]``."""
    shape, dtype = view.type_of(data)
    axes = sorted(int(axis) % len(shape) for axis in node.call.attrs.axis or ())
    if not axes or axes[-1] == len(shape) - 1 or axes != list(range(axes[0], axes[-1] + 1)):
        return None
    first, behind = axes[0], axes[-1] + 1
    parts = (shape[:first], shape[first : first + 1], shape[first + 1 : behind], shape[behind:])
    n, h, w, c = map(math.prod, parts)
    workload = Pool2d("avg", n, h, w, c, (h, w), (1, 1), data=dtype)
    return Anchor(workload, (data,), workload.output_shape, workload.accum)


def _softmax(view: View, node: Node) -> Anchor | None:
    rank = len(node.shape)
    is_last = int(node.call.attrs.axis) % rank == rank - 1
    if not is_last or node.dtype != "float32" or 0 in node.constants:
        return None
    workload = RowReduce("softmax", math.prod(node.shape[:-1]), node.shape[-1])
    return _row_reduce(workload, node.inputs[0])


def _shifted_exp(view: View, node: Node) -> Anchor | None:
    """The exp of what is left of a softmax, with the two operations in front of it."""
    inner = inner_of_exp(view, node)
    if inner is None:
        return None
    workload = RowReduce("shifted_exp", math.prod(node.shape[:-1]), node.shape[-1])
    return _row_reduce(workload, inner.source)


def inner_of_exp(view: View, node: Node) -> ShiftedExp | None:
    """What ``node`` is the exp of, if it alone reads that."""
    inner = shifted_exp(view.nodes, node)
    readers = [view.users[name] for name in inner.members] if inner is not None else []
    return inner if all(len(names) == 1 for names in readers) else None


def _row_norm(view: View, node: Node) -> Anchor | None:
    """Over the last axis, with constant parameters."""
    rank, attrs = len(node.shape), node.call.attrs
    axes = [int(axis) % rank for axis in attrs.axes]
    parameters = [node.constants.get(arg) for arg in range(1, len(node.call.args))]
    known = [each for each in parameters if each is not None]
    if axes != [rank - 1] or node.dtype != "float32" or len(known) < len(parameters):
        return None
    if 0 in node.constants:
        return None
    kind, rows = node.op.removeprefix("nn."), math.prod(node.shape[:-1])
    workload = RowReduce(kind, rows, node.shape[-1], float(attrs.epsilon))
    return _row_reduce(workload, node.inputs[0], *known)


def _group_norm(view: View, node: Node) -> Anchor | None:
    """Over all axes but the first and the channels', which are the last."""
    rank, attrs = len(node.shape), node.call.attrs
    axes = sorted(int(axis) % rank for axis in attrs.axes)
    gamma, beta = node.constants.get(1), node.constants.get(2)
    if int(attrs.channel_axis) % rank != rank - 1 or axes != list(range(1, rank - 1)):
        return None
    if node.dtype != "float32" or gamma is None or beta is None or 0 in node.constants:
        return None
    workload = GroupNorm(node.shape, int(attrs.num_groups), float(attrs.epsilon))
    return Anchor(workload, (node.inputs[0], gamma, beta), node.shape, workload.accum)


def _row_reduce(workload: RowReduce, data: str, *affine: Array) -> Anchor:
    return Anchor(workload, (data, *affine), workload.output_shape, workload.accum)


def _take(view: View, node: Node) -> Anchor | None:
    """A table of bytes for all codes of a byte (hago/realize/tables.py): of uint8 codes as int32,
    or of int8 codes as int32 and 128."""
    table, index = node.constants.get(0), view.node(node.inputs[-1])
    if table is None or table.shape != (256,) or node.dtype not in CODES or index is None:
        return None
    shift, cast = 0, index
    if index.op == "add" and 1 in index.constants and index.constants[1].size == 1:
        inner = view.node(index.inputs[0])
        if inner is None:
            return None
        shift, cast = int(index.constants[1].reshape(())), inner
    if cast.op != "astype" or cast.dtype != "int32" or 0 in cast.constants:
        return None
    codes = cast.inputs[0]
    shape, dtype = view.type_of(codes)
    if dtype not in CODES or shift != -int(np.iinfo(dtype).min) or shape != node.shape:
        return None
    return Anchor(Table(shape, dtype, node.dtype), (codes, table), shape, node.dtype)


def _permute(view: View, node: Node) -> Anchor | None:
    if 0 in node.constants:
        return None
    shape, dtype = view.type_of(node.inputs[0])
    axes = node.call.attrs.axes
    order = tuple(reversed(range(len(shape)))) if axes is None else tuple(map(int, axes))
    workload = Permute(shape, tuple(axis % len(shape) for axis in order), dtype)
    return Anchor(workload, (node.inputs[0],), workload.output_shape, dtype)


def _scaled(anchor: Anchor, factor: float) -> Anchor | None:
    def finish(expression: Expression, total: Value) -> Value:
        return expression.step("multiply_const", total, consts=(factor,))

    return _finished(anchor, finish)


def _scaled_by(anchor: Anchor, factors: Array) -> Anchor | None:
    def finish(expression: Expression, total: Value) -> Value:
        operand = expression.operand(factors, factors.shape, str(factors.dtype))
        return expression.step("multiply", total, operand)

    return _finished(anchor, finish)


def _finished(anchor: Anchor, finish: Prologue) -> Anchor | None:
    if anchor.accumulator != "float32":
        return None
    return Anchor(
        anchor.workload, anchor.data, anchor.shape, anchor.accumulator, anchor.weight, finish
    )


def _pair(values: Any) -> tuple[int, int]:
    first, second = (int(value) for value in values)
    return first, second


def _padding(values: Any) -> tuple[int, int, int, int]:
    top, left, bottom, right = (int(value) for value in values)
    return top, left, bottom, right


def _number(value: Any) -> Any:
    return getattr(value, "value", value)


ROWS: dict[str, Row] = {
    "nn.conv2d": _convolution,
    "matmul": _matmul,
    "nn.max_pool2d": _max_pool,
    "nn.avg_pool2d": _average_pool,
    "mean": _mean,
    "sum": _sum,
    "nn.softmax": _softmax,
    "exp": _shifted_exp,
    "nn.layer_norm": _row_norm,
    "nn.rms_norm": _row_norm,
    "nn.group_norm": _group_norm,
    "permute_dims": _permute,
    "take": _take,
}
