"""How each Relax operator is written in ONNX: a table, one row an operator.

A row takes the writer, the call and the name of its result; it returns the ONNX name of the
result and whether that is channels-first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tvm import relax

from hago.dataflow import constant_value, flat_args, is_constant, tensor_type
from hago.export.writer import FIRST, LAST, Writer, onnx_type, rank_of
from hago.scheme import Array

Row = Callable[[Writer, relax.Call, str], tuple[str, bool]]


def _layout(writer: Writer, args: Sequence[relax.Expr]) -> bool:
    """Channels-first if any operand is and all of them can be."""
    tensors = [arg for arg in args if not is_constant(arg)]
    return any(map(writer.is_first, tensors)) and all(rank_of(arg) == 4 for arg in tensors)


def _elementwise(op: str, **attributes: object) -> Row:
    def row(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
        first = _layout(writer, call.args)
        inputs = [writer.value(arg, first) for arg in call.args]
        return writer.node(op, inputs, name, **attributes), first

    return row


def _add(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    """A constant after a convolution becomes its bias."""
    data, other = call.args
    conv = writer.made_by.get(writer.value(data, True)) if writer.is_first(data) else None
    is_bias = is_constant(other) and tensor_type(other)[0] == tensor_type(data)[0][-1:]
    alone = isinstance(data, relax.Var) and writer.reads.get(str(data.name), 0) == 1
    if conv is None or conv.op_type != "Conv" or len(conv.input) > 2 or not (is_bias and alone):
        return _elementwise("Add")(writer, call, name)
    conv.input.append(_bias(writer, constant_value(other), conv.input[0], conv.input[1], name))
    writer.nodes.remove(conv)  # its bias comes before it
    writer.nodes.append(conv)
    return writer.value(data, True), True


def _bias(writer: Writer, bias: Array, data: str, weight: str, name: str) -> str:
    """``bias`` in int32 with the product of both scales, where the operands are quantized."""
    sources = [writer.made_by.get(place) for place in (data, weight)]
    if any(source is None or source.op_type != "DequantizeLinear" for source in sources):
        return writer.constant(bias)
    left, right = (writer.known(s.input[1]) for s in sources if s is not None)
    scale = np.broadcast_to(left * right, bias.shape).astype(np.float32)
    bounds = np.iinfo(np.int32)
    codes = np.clip(np.rint(bias / scale.astype(np.float64)), bounds.min, bounds.max)
    inputs = [
        writer.constant(codes.astype(np.int32)),
        writer.constant(scale),
        writer.constant(np.zeros(bias.shape, np.int32)),
    ]
    return writer.node("DequantizeLinear", inputs, f"{name}_bias", axis=0)


def _conv(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    attrs = call.attrs
    inputs = [writer.value(arg, True) for arg in call.args]
    return writer.node(
        "Conv", inputs, name, strides=_ints(attrs.strides), pads=_ints(attrs.padding),
        dilations=_ints(attrs.dilation), group=int(attrs.groups),
    ), True  # fmt: skip


def _pool(op: str) -> Row:
    def row(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
        attrs = call.attrs
        counts = {"count_include_pad": int(attrs.count_include_pad)} if op == "AveragePool" else {}
        return writer.node(
            op, [writer.value(call.args[0], True)], name, kernel_shape=_ints(attrs.pool_size),
            strides=_ints(attrs.strides), pads=_ints(attrs.padding),
            dilations=_ints(attrs.dilation), ceil_mode=int(attrs.ceil_mode), **counts,
        ), True  # fmt: skip

    return row


def _quantize(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    data, scale, zero_point = call.args
    first = _layout(writer, [data])
    place = writer.value(data, first)
    if isinstance(data, relax.Var) and writer.reads[str(data.name)] == 1 and not rank_of(scale):
        place = _unbounded(writer, place, call)
    codes = constant_value(zero_point).astype(str(call.attrs.out_dtype))
    inputs = [place, writer.value(scale), writer.constant(codes)]
    return writer.node("QuantizeLinear", inputs, name, **_axis(call, first)), first


def _unbounded(writer: Writer, place: str, call: relax.Call) -> str:
    """What is bounded by ``place``, if saturation does that, too: runtimes fuse Conv and Q."""
    source = writer.made_by.get(place)
    if source is None or source.op_type not in ("Clip", "Relu"):
        return place
    scale, zero_point = (float(constant_value(arg)) for arg in call.args[1:3])
    codes = np.iinfo(str(call.attrs.out_dtype))
    low, high = (
        (0.0, np.inf) if source.op_type == "Relu" else map(writer.known, source.input[1:])
    )
    if np.rint(low / scale) + zero_point > codes.min:
        return place
    if np.rint(high / scale) + zero_point < codes.max:
        return place
    writer.nodes.remove(source)
    return str(source.input[0])


def _dequantize(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    data, scale, zero_point = call.args
    is_weight = is_constant(data) and rank_of(data) == 4
    first = is_weight or _layout(writer, [data])
    codes = constant_value(zero_point).astype(tensor_type(data)[1])
    inputs = [writer.value(data, first), writer.value(scale), writer.constant(codes)]
    return writer.node("DequantizeLinear", inputs, name, **_axis(call, first)), first


def _axis(call: relax.Call, first: bool) -> dict[str, int]:
    """The attribute, where there are several scales."""
    if not rank_of(call.args[1]):
        return {}
    axis = int(call.attrs.axis) % rank_of(call.args[0])
    return {"axis": FIRST.index(axis) if first else axis}


def _cast(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    first = _layout(writer, call.args)
    to = onnx_type(str(call.attrs.dtype))
    return writer.node("Cast", [writer.value(call.args[0], first)], name, to=to), first


def _clip(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    first = _layout(writer, call.args[:1])
    dtype = tensor_type(call.args[0])[1]
    bounds = [writer.constant(np.asarray(float(_number(x)), dtype)) for x in call.args[1:]]
    return writer.node("Clip", [writer.value(call.args[0], first), *bounds], name), first


def _prelu(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    """ONNX's slope broadcasts; Relax's lies along an axis."""
    first, axis = _layout(writer, call.args[:1]), int(call.attrs.axis) % rank_of(call.args[0])
    after = rank_of(call.args[0]) - 1 - (FIRST.index(axis) if first else axis)
    slope = constant_value(call.args[1]).reshape(-1, *[1] * after)
    inputs = [writer.value(call.args[0], first), writer.constant(slope)]
    return writer.node("PRelu", inputs, name), first


def _silu(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    first = _layout(writer, call.args)
    data = writer.value(call.args[0], first)
    gate = writer.node("Sigmoid", [data], f"{name}_sigmoid")
    return writer.node("Mul", [data, gate], name), first


def _matmul(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    return writer.node("MatMul", [writer.value(arg) for arg in call.args], name), False


def _reshape(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    shape = writer.constant(np.array(tensor_type(call)[0], np.int64))
    return writer.node("Reshape", [writer.value(call.args[0]), shape], name), False


def _broadcast(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    shape = writer.constant(np.array(tensor_type(call)[0], np.int64))
    return writer.node("Expand", [writer.value(call.args[0]), shape], name), False


def _permute(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    """Between both image layouts nothing moves: the same tensor has another name."""
    data, rank = call.args[0], rank_of(call.args[0])
    axes = call.attrs.axes
    order = tuple(range(rank))[::-1] if axes is None else tuple(int(a) % rank for a in axes)
    if order == LAST:
        return writer.value(data), True
    if order == FIRST and writer.is_first(data):
        return writer.value(data, True), False
    return writer.node("Transpose", [writer.value(data)], name, perm=order), False


def _reduce(op: str) -> Row:
    def row(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
        data, rank = call.args[0], rank_of(call.args[0])
        axes = [int(a) % rank for a in call.attrs.axis] if call.attrs.axis else list(range(rank))
        keep = bool(call.attrs.keepdims)
        first = keep and _layout(writer, [data])
        places = sorted(FIRST.index(axis) if first else axis for axis in axes)
        inputs = [writer.value(data, first), writer.constant(np.array(places, np.int64))]
        return writer.node(op, inputs, name, keepdims=int(keep)), first

    return row


def _concat(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    parts = flat_args(call)
    first = _layout(writer, parts)
    axis = int(call.attrs.axis) % rank_of(parts[0])
    inputs = [writer.value(part, first) for part in parts]
    return writer.node("Concat", inputs, name, axis=FIRST.index(axis) if first else axis), first


def _softmax(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    axis = int(call.attrs.axis)
    return writer.node("Softmax", [writer.value(call.args[0])], name, axis=axis), False


def _layer_norm(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    axes = sorted(int(a) % rank_of(call.args[0]) for a in call.attrs.axes)
    inputs = [writer.value(arg) for arg in call.args]
    return writer.node(
        "LayerNormalization", inputs, name, axis=axes[0], epsilon=float(call.attrs.epsilon)
    ), False


def _rms_norm(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    """In parts: the operator for it is of opset 23."""
    place, weight = (writer.value(arg) for arg in call.args)
    rank = rank_of(call.args[0])
    axes = np.array(sorted(int(axis) % rank for axis in call.attrs.axes), np.int64)
    epsilon = np.array(call.attrs.epsilon, np.float32)
    square = writer.node("Mul", [place, place], f"{name}_square")
    mean = writer.node("ReduceMean", [square, writer.constant(axes)], f"{name}_mean", keepdims=1)
    shifted = writer.node("Add", [mean, writer.constant(epsilon)], f"{name}_shifted")
    root = writer.node("Sqrt", [shifted], f"{name}_root")
    normal = writer.node("Div", [place, root], f"{name}_normal")
    return writer.node("Mul", [normal, weight], name), False


def _group_norm(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    """As PyTorch writes it: an instance norm of rows that each hold the channels of a group."""
    data, gamma, beta = call.args
    shape, rank = tensor_type(call)[0], rank_of(call)
    channel, groups = int(call.attrs.channel_axis) % rank, int(call.attrs.num_groups)
    order = [0, channel, *(axis for axis in range(1, rank) if axis != channel)]
    first = tuple(order) == FIRST
    place = writer.value(data, first)
    if channel != 1 and not first:
        place = writer.node("Transpose", [place], f"{name}_first", perm=order)
    by_group, by_pixel = (
        writer.constant(np.array(sizes, np.int64))
        for sizes in ([shape[0], groups, -1], [shape[axis] for axis in order])
    )
    unit = [writer.constant(make(groups, np.float32)) for make in (np.ones, np.zeros)]
    rows = writer.node("Reshape", [place, by_group], f"{name}_rows")
    normal = writer.node("InstanceNormalization", [rows, *unit], f"{name}_normal",
                         epsilon=float(call.attrs.epsilon))  # fmt: skip
    image = writer.node("Reshape", [normal, by_pixel], f"{name}_image")
    by_channel = (-1, *(1 for _ in range(rank - 2)))
    scale, shift = (constant_value(each).reshape(by_channel) for each in (gamma, beta))
    scaled = writer.node("Mul", [image, writer.constant(scale)], f"{name}_scaled")
    if channel == 1 or first:
        return writer.node("Add", [scaled, writer.constant(shift)], name), first
    shifted = writer.node("Add", [scaled, writer.constant(shift)], f"{name}_shifted")
    perm = [order.index(axis) for axis in range(rank)]
    return writer.node("Transpose", [shifted], name, perm=perm), False


def _slice(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    axes, begin, end, *strides = (
        np.array([int(v) for v in part.fields], np.int64) for part in call.args[1:5]
    )
    steps = strides[0] if strides else np.ones(len(axes), np.int64)
    inputs = [writer.constant(part) for part in (begin, end, axes, steps)]
    return writer.node("Slice", [writer.value(call.args[0]), *inputs], name), False


def _take(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    axis = 0 if call.attrs.axis is None else int(call.attrs.axis)
    return writer.node("Gather", [writer.value(arg) for arg in call.args], name, axis=axis), False


def _resize(writer: Writer, call: relax.Call, name: str) -> tuple[str, bool]:
    attrs = call.attrs
    n, h, w, c = tensor_type(call)[0]
    modes = {"nearest_neighbor": "nearest", "linear": "linear", "cubic": "cubic"}
    rounding = {"floor": "floor", "ceil": "ceil", "round": "round_prefer_ceil"}
    sizes = writer.constant(np.array([n, c, h, w], np.int64))
    return writer.node(
        "Resize", [writer.value(call.args[0], True), "", "", sizes], name,
        mode=modes[str(attrs.method)],
        coordinate_transformation_mode=str(attrs.coordinate_transformation_mode),
        nearest_mode=rounding.get(str(attrs.rounding_method), "floor"),
        cubic_coeff_a=float(attrs.cubic_alpha),
    ), True  # fmt: skip


def _ints(values: Sequence[object]) -> list[int]:
    return [int(value) for value in values]  # type: ignore[call-overload]


def _number(value: relax.Expr) -> float:
    return float(value.value) if hasattr(value, "value") else float(value)


ROWS: dict[str, Row] = {
    "abs": _elementwise("Abs"),
    "add": _add,
    "astype": _cast,
    "broadcast_to": _broadcast,
    "clip": _clip,
    "concat": _concat,
    "dequantize": _dequantize,
    "divide": _elementwise("Div"),
    "erf": _elementwise("Erf"),
    "exp": _elementwise("Exp"),
    "floor": _elementwise("Floor"),
    "image.resize2d": _resize,
    "log": _elementwise("Log"),
    "matmul": _matmul,
    "max": _reduce("ReduceMax"),
    "maximum": _elementwise("Max"),
    "mean": _reduce("ReduceMean"),
    "min": _reduce("ReduceMin"),
    "minimum": _elementwise("Min"),
    "multiply": _elementwise("Mul"),
    "negative": _elementwise("Neg"),
    "nn.avg_pool2d": _pool("AveragePool"),
    "nn.conv2d": _conv,
    "nn.gelu": _elementwise("Gelu"),
    "nn.gelu_tanh": _elementwise("Gelu", approximate="tanh"),
    "nn.group_norm": _group_norm,
    "nn.layer_norm": _layer_norm,
    "nn.max_pool2d": _pool("MaxPool"),
    "nn.prelu": _prelu,
    "nn.relu": _elementwise("Relu"),
    "nn.rms_norm": _rms_norm,
    "nn.silu": _silu,
    "nn.softmax": _softmax,
    "permute_dims": _permute,
    "power": _elementwise("Pow"),
    "quantize": _quantize,
    "reshape": _reshape,
    "round": _elementwise("Round"),
    "sigmoid": _elementwise("Sigmoid"),
    "sqrt": _elementwise("Sqrt"),
    "strided_slice": _slice,
    "subtract": _elementwise("Sub"),
    "sum": _reduce("ReduceSum"),
    "take": _take,
    "tanh": _elementwise("Tanh"),
}
