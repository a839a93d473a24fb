"""The PyTorch form of each Relax operation that a prepared or QDQ module may hold.

A row takes the call (for its attributes) and its arguments, as the rows of numpy's meanings do
(hago/realize/meanings.py); tests hold the two against each other. Roundings pass gradients
straight through (Bengio et al., arXiv 1308.3432), so codes are kept as float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from hago.dataflow import tensor_type
from hago.gradient import torch
from hago.gradient.windows import convolve, pool_average, pool_maximum
from hago.resample import taps

if TYPE_CHECKING:
    from torch import Tensor
    from tvm import relax

Operator = Callable[..., Any]
_PAD_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge"}  # Relax's, numpy's


def round_straight(tensor: Tensor) -> Tensor:
    """Rounded half to even; its gradient is that of the identity."""
    return tensor + (tensor.round() - tensor).detach()


def _quantize(call: relax.Call, real: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    bounds = np.iinfo(str(call.attrs.out_dtype))
    codes = round_straight(real / _spread(call, scale, real)) + _spread(call, zero_point, real)
    return codes.clamp(int(bounds.min), int(bounds.max))


def _dequantize(call: relax.Call, codes: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    shifted = codes.to(torch.float32) - _spread(call, zero_point, codes).to(torch.float32)
    return shifted * _spread(call, scale, codes)


def _spread(call: relax.Call, numbers: Tensor, tensor: Tensor) -> Tensor:
    """Scales or zero points, broadcastable to ``tensor``."""
    if numbers.numel() == 1:
        return numbers.reshape(())
    shape = [1] * tensor.ndim
    shape[int(call.attrs.axis) % tensor.ndim] = -1
    return numbers.reshape(shape)


def _layer_norm(call: relax.Call, data: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    axes = [int(axis) for axis in call.attrs.axes]
    centered = data - data.mean(axes, keepdim=True)
    variance = centered.square().mean(axes, keepdim=True)
    return centered / (variance + float(call.attrs.epsilon)).sqrt() * gamma + beta


def _rms_norm(call: relax.Call, data: Tensor, weight: Tensor) -> Tensor:
    axes = [int(axis) for axis in call.attrs.axes]
    squares = data.square().mean(axes, keepdim=True)
    return data / (squares + float(call.attrs.epsilon)).sqrt() * weight


def _group_norm(call: relax.Call, data: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Of groups of channels, or (as for instances) of each, over all axes but the first."""
    axis = int(call.attrs.channel_axis) % data.ndim
    groups = int(getattr(call.attrs, "num_groups", data.shape[axis]))
    normal = torch.nn.functional.group_norm(
        data.movedim(axis, 1), groups, gamma, beta, float(call.attrs.epsilon)
    )
    return normal.movedim(1, axis)


def _variance(call: relax.Call, data: Tensor) -> Tensor:
    given = call.attrs.axis
    axes = [int(axis) for axis in given] if given else list(range(data.ndim))
    return data.var(axes, correction=0, keepdim=bool(call.attrs.keepdims))


def _reduce(name: str) -> Operator:
    def reduce(call: relax.Call, data: Tensor) -> Tensor:
        given = call.attrs.axis
        axes = [int(axis) for axis in given] if given else list(range(data.ndim))
        return getattr(torch, name)(data, axes, keepdim=bool(call.attrs.keepdims))

    return reduce


def _strided_slice(
    call: relax.Call, data: Tensor, axes: Any, begin: Any, end: Any, strides: Any = None
) -> Tensor:
    steps = strides if strides is not None else [1] * len(axes)
    for axis, first, last, step in zip(axes, begin, end, steps, strict=True):
        stop = None if int(step) < 0 and int(last) < 0 else int(last)
        kept = range(data.shape[int(axis)])[int(first) : stop : int(step)]
        data = data.index_select(int(axis), torch.tensor(list(kept), dtype=torch.int64))
    return data


def _split(call: relax.Call, data: Tensor) -> tuple[Tensor, ...]:
    sections = call.attrs.indices_or_sections
    if hasattr(sections, "__iter__"):
        places = tuple(int(_python(section)) for section in sections)
        return tuple(torch.tensor_split(data, places, dim=int(call.attrs.axis)))
    return tuple(torch.tensor_split(data, int(_python(sections)), dim=int(call.attrs.axis)))


def _python(value: Any) -> Any:
    return getattr(value, "value", value)


def _take(call: relax.Call, data: Tensor, index: Tensor, *_: Any) -> Tensor:
    if call.attrs.axis is None:
        return data.reshape(-1)[index]
    axis = int(call.attrs.axis) % data.ndim
    rows = data.movedim(axis, 0)[index]
    places = range(index.ndim)
    return rows.movedim(tuple(places), tuple(axis + place for place in places))


def _pad(call: relax.Call, data: Tensor, *_: Any) -> Tensor:
    width = [int(w) for w in call.attrs.pad_width]
    pairs = list(zip(width[::2], width[1::2], strict=True))
    mode = str(call.attrs.pad_mode)
    if mode == "constant":
        flat = [extent for pair in reversed(pairs) for extent in pair]
        value = float(_python(call.attrs.pad_value))
        return torch.nn.functional.pad(data, flat, value=value)
    for axis, (before, after) in enumerate(pairs):
        places = np.pad(np.arange(data.shape[axis]), (before, after), mode=_PAD_MODES[mode])
        data = data.index_select(axis, torch.from_numpy(places))
    return data


def _prelu(call: relax.Call, data: Tensor, slope: Tensor) -> Tensor:
    along = [1] * data.ndim
    along[int(call.attrs.axis)] = -1
    return torch.where(data > 0, data, data * slope.reshape(along))


def _resize2d(call: relax.Call, data: Tensor, size: Any, *_: Any) -> Tensor:
    for axis, extent in zip((1, 2), size, strict=True):
        read = taps(call, data.shape[axis], int(extent))
        low = data.index_select(axis, torch.from_numpy(read.low))
        high = data.index_select(axis, torch.from_numpy(read.high))
        share = torch.from_numpy(read.share).reshape(-1, *[1] * (data.ndim - axis - 1))
        data = low + share * (high - low)
    return data


def _plain(name: str) -> Operator:
    """A function of torch (looked up when it is first called) of the arguments alone."""
    return lambda call, *tensors: getattr(torch, name)(*tensors)


def _function(name: str, **options: str) -> Operator:
    """The same from ``torch.nn.functional``."""
    return lambda call, data: getattr(torch.nn.functional, name)(data, **options)


def _permute(call: relax.Call, data: Tensor) -> Tensor:
    given = call.attrs.axes
    return data.permute([int(a) for a in given] if given else list(reversed(range(data.ndim))))



def _astype(call: relax.Call, data: Tensor) -> Tensor:
    return data.to(getattr(torch, tensor_type(call)[1]))


def _reshape(call: relax.Call, data: Tensor, *_: Any) -> Tensor:
    return data.reshape(tensor_type(call)[0])


_NAMES = {"equal": "eq", "not_equal": "ne", "less": "lt", "less_equal": "le", "greater": "gt",
          "greater_equal": "ge"}  # fmt: skip
OPERATORS: dict[str, Operator] = {
    "nn.conv2d": convolve,
    "nn.max_pool2d": pool_maximum,
    "nn.avg_pool2d": pool_average,
    "quantize": _quantize,
    "dequantize": _dequantize,
    "nn.softmax": lambda call, x: torch.softmax(x, int(call.attrs.axis)),
    "nn.layer_norm": _layer_norm,
    "nn.rms_norm": _rms_norm,
    "nn.group_norm": _group_norm,
    "nn.instance_norm": _group_norm,
    "nn.pad": _pad,
    "image.resize2d": _resize2d,
    "strided_slice": _strided_slice,
    "split": _split,
    "take": _take,
    "sum": _reduce("sum"),
    "mean": _reduce("mean"),
    "variance": _variance,
    "max": _reduce("amax"),
    "min": _reduce("amin"),
    "nn.relu": _plain("relu"),
    "nn.prelu": _prelu,
    "nn.leakyrelu": lambda call, x: torch.where(x > 0, x, x * float(call.attrs.alpha)),
    "nn.gelu": _function("gelu"),
    "nn.gelu_tanh": _function("gelu", approximate="tanh"),
    "nn.silu": _function("silu"),
    "round": lambda call, x: round_straight(x),
    "clip": lambda call, x, low, high: x.clamp(float(low), float(high)),
    "power": _plain("pow"),
    "tile": lambda call, x: x.tile([int(count) for count in call.attrs.repeats]),
    "astype": _astype,
    "permute_dims": _permute,
    "broadcast_to": lambda call, x, shape: x.expand(shape),
    "concat": lambda call, parts: torch.cat(parts, int(call.attrs.axis)),
    **dict.fromkeys(("reshape", "expand_dims", "squeeze", "flatten"), _reshape),
    **{
        name: _plain(_NAMES.get(name, name))
        for name in (
            "matmul", "add", "subtract", "multiply", "divide", "maximum", "minimum", "sigmoid",
            "tanh", "erf", "exp", "log", "sqrt", "rsqrt", "floor", "abs", "negative", "square",
            "where", "sign", "floor_divide", "sin", "cos", *_NAMES,
        )
    },
}  # fmt: skip
