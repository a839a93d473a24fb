"""The numpy meaning of each Relax operation that a prepared or realized module may hold.

A row takes the call (for its attributes) and the values of its arguments. Sums of integers are
computed wide and must fit the dtype of the result: an overflow is an error, never a wrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special
from tvm import relax

from hago.by_tvm import value_by_tvm
from hago.dataflow import tensor_type
from hago.float8 import FORMATS, KINDS, decode_float8, encode_float8
from hago.resample import taps
from hago.scheme import BFLOAT16_ARRAY

Array = npt.NDArray[Any]
_PAD_MODES: dict[str, Literal["reflect", "edge"]] = {"reflect": "reflect", "replicate": "edge"}
Meaning = Callable[..., Any]
_NARROW_FLOATS = (BFLOAT16_ARRAY, *map(np.dtype, KINDS))


def _narrow(exact: Array, call: relax.Call) -> Array:
    """``exact`` in the dtype of the call's result; integers must fit."""
    dtype = tensor_type(call)[1]
    if exact.dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        if exact.size and (exact.min() < bounds.min or exact.max() > bounds.max):
            raise OverflowError(f"{call.op.name}: {exact.min()}..{exact.max()} is no {dtype}")
    return exact.astype(dtype)


def _wide(array: Array) -> Array:
    """float64 for integers (exact below 2^53, and fast) and for floats of 8 and 16 bits (products
    are exact, a sum of K rounds by K * 2^-53), unchanged for other floats."""
    is_narrow = array.dtype.kind in "iu" or array.dtype in _NARROW_FLOATS
    return array.astype(np.float64) if is_narrow else array


def _product(left: Array, right: Array, call: relax.Call) -> Array:
    total = np.matmul(_wide(left), _wide(right))
    return _narrow(total.astype(np.int64) if left.dtype.kind in "iu" else total, call)


def _windows(
    data: Array, kernel: Sequence[int], strides: Sequence[int], dilation: Sequence[int]
) -> Array:
    """Sliding windows ``[n, oh, ow, c, kh, kw]`` of NHWC data, without a copy."""
    span = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    view = np.lib.stride_tricks.sliding_window_view(data, span, axis=(1, 2))
    return view[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]


def _pad(data: Array, padding: Sequence[int], value: float) -> Array:
    top, left, bottom, right = (int(p) for p in padding)
    width = ((0, 0), (top, bottom), (left, right), (0, 0))
    return np.pad(data, width, constant_values=data.dtype.type(value))


def _conv2d(call: relax.Call, data: Array, weight: Array) -> Array:
    attrs = call.attrs
    out_channels, kh, kw, per_group = weight.shape
    groups = int(attrs.groups)
    padded = _wide(_pad(data, attrs.padding, 0))
    windows = _windows(padded, (kh, kw), [int(s) for s in attrs.strides],
                       [int(d) for d in attrs.dilation])  # fmt: skip
    n, oh, ow = windows.shape[:3]
    per_out = out_channels // groups
    kernels = _wide(weight).reshape(groups, per_out, kh, kw, per_group)
    if groups == 1:
        rows = windows.transpose(0, 1, 2, 4, 5, 3).reshape(n * oh * ow, -1)
        total = rows @ kernels[0].reshape(per_out, -1).T
    elif per_group == per_out == 1:
        total = np.zeros(windows.shape[:4], padded.dtype)
        for y, x in np.ndindex(kh, kw):
            total += windows[..., y, x] * kernels[:, 0, y, x, 0]
    else:
        # [n, oh, ow, groups, per_group, kh, kw] x [groups, per_out, kh, kw, per_group]
        grouped = windows.reshape(n, oh, ow, groups, per_group, kh, kw)
        total = np.einsum("nhwgiyx,goyxi->nhwgo", grouped, kernels, optimize=True)
    total = total.reshape(n, oh, ow, out_channels)
    return _narrow(total.astype(np.int64) if data.dtype.kind in "iu" else total, call)


def _broadcast_numbers(value: Array, rank: int, axis: int) -> Array:
    if value.ndim == 0 or value.size == 1:
        return value.reshape(())
    shape = [1] * rank
    shape[axis % rank] = -1
    return value.reshape(shape)


def _quantize(call: relax.Call, real: Array, scale: Array, zero_point: Array) -> Array:
    axis, dtype = int(call.attrs.axis), str(call.attrs.out_dtype)
    scale = _broadcast_numbers(scale, real.ndim, axis)
    if dtype in KINDS:
        return encode_float8((real / scale).astype(np.float32), KINDS[dtype]).view(dtype)
    bounds = np.iinfo(dtype)
    shift = _broadcast_numbers(zero_point, real.ndim, axis).astype(np.float64)
    codes = np.rint((real / scale).astype(np.float32)).astype(np.float64) + shift
    return np.clip(codes, bounds.min, bounds.max).astype(dtype)


def _dequantize(call: relax.Call, codes: Array, scale: Array, zero_point: Array) -> Array:
    axis = int(call.attrs.axis)
    scale = _broadcast_numbers(scale, codes.ndim, axis)
    if str(codes.dtype) in KINDS:
        return decode_float8(codes.view(np.uint8), KINDS[str(codes.dtype)]) * scale
    shift = _broadcast_numbers(zero_point, codes.ndim, axis).astype(np.int64)
    return (codes.astype(np.int64) - shift).astype(np.float32) * scale


def _lowest(dtype: np.dtype[Any]) -> float:
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min)
    name = KINDS.get(str(dtype))
    return -FORMATS[name].largest if name else -np.inf


def _pool(call: relax.Call, data: Array, reduce: str) -> Array:
    attrs = call.attrs
    fill = _lowest(data.dtype) if reduce == "max" else 0
    kernel = [int(k) for k in attrs.pool_size]
    strides, dilation = [int(s) for s in attrs.strides], [int(d) for d in attrs.dilation]
    padding = _ceil_padding(data.shape, kernel, strides, dilation, attrs)
    windows = _windows(_pad(data, padding, fill), kernel, strides, dilation)
    if reduce == "max":
        return windows.max(axis=(-2, -1))
    total = windows.sum(axis=(-2, -1), dtype=data.dtype)
    if attrs.count_include_pad:
        return (total / np.float32(kernel[0] * kernel[1])).astype(data.dtype)
    ones = _pad(np.ones((1, *data.shape[1:3], 1), data.dtype), padding, 0)
    return total / _windows(ones, kernel, strides, dilation).sum(axis=(-2, -1))


def _ceil_padding(
    shape: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    attrs: Any,
) -> list[int]:
    """Padding, with what ceil_mode adds at the end."""
    padding = [int(p) for p in attrs.padding]
    if not attrs.ceil_mode:
        return padding
    for axis in range(2):
        length = shape[1 + axis] + padding[axis] + padding[axis + 2]
        span = dilation[axis] * (kernel[axis] - 1) + 1
        padding[axis + 2] += -(length - span) % strides[axis]
    return padding


def _softmax(call: relax.Call, data: Array) -> Array:
    axis = int(call.attrs.axis)
    shifted = np.exp(data - data.max(axis=axis, keepdims=True))
    return shifted / shifted.sum(axis=axis, keepdims=True, dtype=data.dtype)


def _layer_norm(call: relax.Call, data: Array, gamma: Array, beta: Array) -> Array:
    axes = tuple(int(axis) for axis in call.attrs.axes)
    mean = data.mean(axis=axes, keepdims=True)
    variance = np.square(data - mean).mean(axis=axes, keepdims=True)
    normal = (data - mean) / np.sqrt(variance + np.float32(call.attrs.epsilon))
    return normal * gamma + beta


def _rms_norm(call: relax.Call, data: Array, weight: Array) -> Array:
    axes = tuple(int(axis) for axis in call.attrs.axes)
    squares = np.square(data).mean(axis=axes, keepdims=True)
    return data / np.sqrt(squares + np.float32(call.attrs.epsilon)) * weight


def _group_norm(call: relax.Call, data: Array, gamma: Array, beta: Array) -> Array:
    channel, groups = int(call.attrs.channel_axis) % data.ndim, int(call.attrs.num_groups)
    first = np.moveaxis(data, channel, 1)
    rows = first.reshape(first.shape[0], groups, -1)
    centred = rows - rows.mean(axis=2, keepdims=True)
    variance = np.square(centred).mean(axis=2, keepdims=True)
    normal = (centred / np.sqrt(variance + np.float32(call.attrs.epsilon))).reshape(first.shape)
    scale, shift = (_broadcast_numbers(each, data.ndim, channel) for each in (gamma, beta))
    return np.moveaxis(normal, 1, channel) * scale + shift


def _reduce(function: Callable[..., Array]) -> Meaning:
    def meaning(call: relax.Call, data: Array) -> Array:
        axes = tuple(int(axis) for axis in call.attrs.axis) if call.attrs.axis else None
        wide = data.astype(np.int64) if data.dtype.kind in "iu" else data
        return _narrow(np.asarray(function(wide, axis=axes, keepdims=bool(call.attrs.keepdims))),
                       call)  # fmt: skip

    return meaning


def _strided_slice(
    call: relax.Call, data: Array, axes: Any, begin: Any, end: Any, strides: Any = None
) -> Array:
    index = [slice(None)] * data.ndim
    steps = strides if strides is not None else [1] * len(axes)
    for axis, first, last, step in zip(axes, begin, end, steps, strict=True):
        index[int(axis)] = slice(int(first), _stop(int(last), int(step)), int(step))
    return data[tuple(index)]


def _stop(last: int, step: int) -> int | None:
    return None if step < 0 and last < 0 else last


def _split(call: relax.Call, data: Array) -> tuple[Array, ...]:
    sections = call.attrs.indices_or_sections
    if hasattr(sections, "__iter__"):
        sections = [int(_python(s)) for s in sections]
    else:
        sections = int(_python(sections))
    return tuple(np.split(data, sections, axis=int(call.attrs.axis)))


def _python(value: Any) -> Any:
    return getattr(value, "value", value)


def _prelu(call: relax.Call, data: Array, slope: Array) -> Array:
    along = [1] * data.ndim
    along[int(call.attrs.axis)] = -1
    return np.where(data > 0, data, data * slope.reshape(along))


def _resize2d(call: relax.Call, data: Array, size: Any, *others: Any) -> Array:
    if str(call.attrs.method) == "cubic":
        cubic: Array = value_by_tvm(call, (data, size, *others))
        return cubic
    for axis, extent in zip((1, 2), size, strict=True):
        read = taps(call, data.shape[axis], int(extent))
        low = data.take(read.low, axis)
        if read.share.any():  # codes are moved, never mixed
            share = np.expand_dims(read.share, tuple(range(1, data.ndim - axis)))
            low = low + share * (data.take(read.high, axis) - low)
        data = low
    return data


def _pad_any(call: relax.Call, data: Array, *_: Any) -> Array:
    width = [int(w) for w in call.attrs.pad_width]
    pairs = list(zip(width[::2], width[1::2], strict=True))
    if str(call.attrs.pad_mode) == "constant":
        value = data.dtype.type(float(_python(call.attrs.pad_value)))
        return np.pad(data, pairs, constant_values=value)
    return np.pad(data, pairs, mode=_PAD_MODES[str(call.attrs.pad_mode)])


def _gelu(data: Array) -> Array:
    half = data.dtype.type(0.5)
    return half * data * (1 + special.erf(data * data.dtype.type(np.sqrt(0.5))))


def _plain(function: Callable[..., Any]) -> Meaning:
    """A function of the arguments alone, its result in the dtype of the call's type."""

    def meaning(call: relax.Call, *args: Any) -> Array:
        exact = np.asarray(function(*args))
        if exact.dtype == bool:
            return exact
        if exact.dtype.kind in "iu":
            return _narrow(exact, call)
        return exact.astype(tensor_type(call)[1] or exact.dtype)

    return meaning


def _wide_binary(function: Callable[..., Any]) -> Meaning:
    """Integers are widened first, so that an overflow is seen."""

    def wide(value: Any) -> Any:
        array = np.asarray(value)
        return array.astype(np.int64) if array.dtype.kind in "iu" else array

    return _plain(lambda a, b: function(wide(a), wide(b)))


def _log(data: Array) -> Array:
    with np.errstate(divide="ignore"):  # log(0) is -inf, as in C
        return np.log(data)


def _axes(call: relax.Call) -> tuple[int, ...] | None:
    return tuple(int(axis) for axis in call.attrs.axes) if call.attrs.axes else None


MEANINGS: dict[str, Meaning] = {
    "nn.conv2d": _conv2d,
    "matmul": lambda call, a, b: _product(a, b, call),
    "quantize": _quantize,
    "dequantize": _dequantize,
    "nn.max_pool2d": lambda call, x: _pool(call, x, "max"),
    "nn.avg_pool2d": lambda call, x: _pool(call, x, "avg"),
    "nn.softmax": _softmax,
    "nn.group_norm": _group_norm,
    "nn.layer_norm": _layer_norm,
    "nn.rms_norm": _rms_norm,
    "nn.pad": _pad_any,
    "image.resize2d": _resize2d,
    "strided_slice": _strided_slice,
    "split": _split,
    "sum": _reduce(np.sum),
    "mean": _reduce(np.mean),
    "max": _reduce(np.max),
    "min": _reduce(np.min),
    "add": _wide_binary(np.add),
    "subtract": _wide_binary(np.subtract),
    "multiply": _wide_binary(np.multiply),
    "divide": _plain(np.divide),
    "power": _plain(np.power),
    "maximum": _plain(np.maximum),
    "minimum": _plain(np.minimum),
    "right_shift": _plain(np.right_shift),
    "floor_divide": _plain(np.floor_divide),
    "sign": _plain(np.sign),
    "left_shift": _wide_binary(np.left_shift),
    "clip": _plain(lambda x, low, high: np.clip(x, x.dtype.type(low), x.dtype.type(high))),
    "nn.relu": _plain(lambda x: np.maximum(x, 0)),
    "nn.leakyrelu": lambda call, x: np.where(x > 0, x, x * np.float32(call.attrs.alpha)),
    "nn.prelu": _prelu,
    "nn.gelu": _plain(_gelu),
    "nn.silu": _plain(lambda x: x * special.expit(x)),
    "sigmoid": _plain(special.expit),
    "tanh": _plain(np.tanh),
    "erf": _plain(special.erf),
    "exp": _plain(np.exp),
    "log": _plain(_log),
    "sqrt": _plain(np.sqrt),
    "rsqrt": _plain(lambda x: 1 / np.sqrt(x)),
    "round": _plain(np.rint),
    "floor": _plain(np.floor),
    "abs": _plain(np.abs),
    "negative": _plain(np.negative),
    "square": _plain(np.square),
    "where": _plain(np.where),
    "equal": _plain(np.equal),
    "less": _plain(np.less),
    "greater": _plain(np.greater),
    "take": lambda call, x, index, *_: np.take(x, index, axis=call.attrs.axis),
    "astype": lambda call, x: x.astype(tensor_type(call)[1]),
    "reshape": lambda call, x, shape: x.reshape(shape),
    "permute_dims": lambda call, x: x.transpose(_axes(call)),
    "expand_dims": lambda call, x: np.expand_dims(x, tuple(int(a) for a in call.attrs.axis)),
    "squeeze": lambda call, x: x.reshape(tensor_type(call)[0]),
    "flatten": lambda call, x: x.reshape(tensor_type(call)[0]),
    "broadcast_to": lambda call, x, shape: np.broadcast_to(x, shape),
    "concat": lambda call, parts: np.concatenate(parts, axis=int(call.attrs.axis)),
}
