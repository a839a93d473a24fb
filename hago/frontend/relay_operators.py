"""What each Relay operator is in Relax: a table, one row an operator.

A row takes the operands (a tuple operand is a list) and the attributes, and returns a Relax
expression, or a list for what is a tuple. Defaults are those of Relay's ``python/tvm/relay/op``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import relax

from hago.frontend.relay_text import Attribute

Value = Any  # relax.Expr, or a list of them


@dataclass(frozen=True, eq=False)
class Operation:
    """One call: its operands, its attributes, and where intermediate values go."""

    args: Sequence[Value]
    attributes: Mapping[str, Attribute]
    builder: relax.BlockBuilder

    def ints(self, name: str, default: Sequence[int] = ()) -> list[int]:
        """An attribute that is one or several integers."""
        value = self.attributes.get(name, tuple(default))
        values = value if isinstance(value, tuple) else (value,)
        return [int(v) for v in values if isinstance(v, int | float)]

    def integer(self, name: str, default: int) -> int:
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise ValueError(f"{name}={value!r} is not a number")
        return int(value)

    def number(self, name: str, default: float) -> float:
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise ValueError(f"{name}={value!r} is not a number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        return bool(self.attributes.get(name, default))

    def text(self, name: str, default: str) -> str:
        return str(self.attributes.get(name) or default)

    def emit(self, expr: relax.Expr) -> relax.Expr:
        return self.builder.emit(expr)


Row = Callable[[Operation], Value]


def _plain(function: Callable[..., relax.Expr]) -> Row:
    """An operator without attributes."""
    return lambda operation: function(*operation.args)


def _first(operation: Operation) -> Value:
    return operation.args[0]


def _rank(expr: relax.Expr) -> int:
    return len(expr.ty.shape)


def _shape(expr: relax.Expr) -> list[int]:
    return [int(extent) for extent in expr.ty.shape]


def _padding(sizes: list[int]) -> list[int]:
    """One number for all sides, two for height and width, or all four."""
    return {1: sizes * 4, 2: sizes * 2}.get(len(sizes), sizes)


def _conv2d(op: Operation) -> Value:
    layout, kernel = op.text("data_layout", "NCHW"), op.text("kernel_layout", "OIHW")
    dtype = op.text("out_dtype", "")
    return relax.op.nn.conv2d(
        *op.args, strides=op.ints("strides", (1, 1)),
        padding=_padding(op.ints("padding", (0, 0))), dilation=op.ints("dilation", (1, 1)),
        groups=op.integer("groups", 1), data_layout=layout, kernel_layout=kernel,
        out_dtype=dtype or None,
    )  # fmt: skip


def _dense(op: Operation) -> Value:
    """data @ weight.T"""
    data, weight = op.args
    turned = op.emit(relax.op.permute_dims(weight, [1, 0]))
    return relax.op.matmul(data, turned, out_dtype=op.text("out_dtype", "") or None)


def _matmul(op: Operation) -> Value:
    operands = [
        op.emit(_swapped(x)) if op.flag(flag, False) else x
        for x, flag in zip(op.args, ("transpose_a", "transpose_b"), strict=True)
    ]
    return relax.op.matmul(*operands, out_dtype=op.text("out_dtype", "") or None)


def _batch_matmul(op: Operation) -> Value:
    """The right operand is transposed unless it says otherwise."""
    attributes = {"transpose_b": True, **op.attributes}
    return _matmul(Operation(op.args, attributes, op.builder))


def _swapped(expr: relax.Expr) -> relax.Expr:
    axes = list(range(_rank(expr)))
    return relax.op.permute_dims(expr, [*axes[:-2], axes[-1], axes[-2]])


def _bias_add(op: Operation) -> Value:
    data, bias = op.args
    after = _rank(data) - 1 - op.integer("axis", 1) % _rank(data)
    shape = [*_shape(bias), *[1] * after]
    return relax.op.add(data, op.emit(relax.op.reshape(bias, shape)) if after else bias)


def _batch_norm(op: Operation) -> Value:
    """The normalised data, and the statistics as they came."""
    data, gamma, beta, mean, variance = op.args
    ones, zeros = (relax.const(np.full(_shape(gamma), v, np.float32)) for v in (1, 0))
    result = relax.op.nn.batch_norm(
        data, gamma if op.flag("scale", True) else ones, beta if op.flag("center", True) else zeros,
        mean, variance, axis=op.integer("axis", 1), epsilon=op.number("epsilon", 1e-5),
    )  # fmt: skip
    normalised = op.emit(relax.TupleGetItem(op.emit(result), 0))
    return [normalised, mean, variance]


def _layer_norm(op: Operation) -> Value:
    data, gamma, beta = op.args
    return relax.op.nn.layer_norm(
        data, gamma, beta, axes=[op.integer("axis", -1)], epsilon=op.number("epsilon", 1e-5),
        center=op.flag("center", True), scale=op.flag("scale", True),
    )  # fmt: skip


def _clip(op: Operation) -> Value:
    return relax.op.clip(op.args[0], op.number("a_min", -np.inf), op.number("a_max", np.inf))


def _cast(op: Operation) -> Value:
    return relax.op.astype(op.args[0], op.text("dtype", "float32"))


def _leaky_relu(op: Operation) -> Value:
    return relax.op.nn.leakyrelu(op.args[0], op.number("alpha", 0.01))


def _reshape(op: Operation) -> Value:
    """0 keeps an extent, -1 is what is left; the rarer codes (-2 to -4) are refused."""
    source, wanted = _shape(op.args[0]), op.ints("newshape")
    if any(extent < -1 for extent in wanted):
        raise ValueError(f"newshape={wanted} has codes below -1")
    kept = [source[i] if extent == 0 else extent for i, extent in enumerate(wanted)]
    return relax.op.reshape(op.args[0], kept)


def _transpose(op: Operation) -> Value:
    return relax.op.permute_dims(op.args[0], op.ints("axes") or None)


def _squeeze(op: Operation) -> Value:
    return relax.op.squeeze(op.args[0], op.ints("axis") or None)


def _expand_dims(op: Operation) -> Value:
    axis, count = op.integer("axis", 0), op.integer("num_newaxis", 1)
    return relax.op.expand_dims(op.args[0], [axis + i for i in range(count)])


def _batch_flatten(op: Operation) -> Value:
    shape = _shape(op.args[0])
    return relax.op.reshape(op.args[0], [shape[0], int(np.prod(shape[1:]))])


def _concatenate(op: Operation) -> Value:
    return relax.op.concat(list(op.args[0]), axis=op.integer("axis", 0))


def _split(op: Operation) -> Value:
    sections = op.attributes.get("indices_or_sections", 1)
    parts = list(op.ints("indices_or_sections")) if isinstance(sections, tuple) else sections
    result = op.emit(relax.op.split(op.args[0], parts, op.integer("axis", 0)))
    return [op.emit(relax.TupleGetItem(result, i)) for i in range(len(result.ty.fields))]


def _take(op: Operation) -> Value:
    axis = op.attributes.get("axis")
    return relax.op.take(*op.args, axis=None if axis is None else op.integer("axis", 0))


def _strided_slice(op: Operation) -> Value:
    begin, end = op.ints("begin"), op.ints("end")
    axes = op.ints("axes") or list(range(len(begin)))
    if op.text("slice_mode", "end") == "size":
        shape = _shape(op.args[0])
        end = [shape[a] if e < 0 else b + e for a, b, e in zip(axes, begin, end, strict=True)]
    strides = op.ints("strides") or [1]
    strides = strides * len(begin) if len(strides) == 1 else strides
    return relax.op.strided_slice(op.args[0], axes, begin, end, strides)


def _reduce(function: Callable[..., relax.Expr]) -> Row:
    def row(op: Operation) -> Value:
        if op.flag("exclude", False):
            raise ValueError("exclude=True")
        return function(op.args[0], op.ints("axis") or None, op.flag("keepdims", False))

    return row


def _softmax(op: Operation) -> Value:
    return relax.op.nn.softmax(op.args[0], op.integer("axis", -1))


def _pool(function: Callable[..., relax.Expr]) -> Row:
    def row(op: Operation) -> Value:
        counts = {"count_include_pad": op.flag("count_include_pad", False)}
        return function(
            op.args[0], pool_size=op.ints("pool_size"), strides=op.ints("strides", (1, 1)),
            padding=_padding(op.ints("padding", (0, 0))), dilation=op.ints("dilation", (1, 1)),
            layout=op.text("layout", "NCHW"), ceil_mode=op.flag("ceil_mode", False),
            **(counts if function is relax.op.nn.avg_pool2d else {}),
        )  # fmt: skip

    return row


def _global_average(op: Operation) -> Value:
    """Integers are divided as TVM did: the sum by the count, towards zero."""
    (data,) = op.args
    layout = op.text("layout", "NCHW")
    axes = [layout.index("H"), layout.index("W")]
    if str(data.ty.dtype).startswith("float"):
        return relax.op.mean(data, axes, keepdims=True)
    count = int(np.prod([_shape(data)[axis] for axis in axes]))
    total = op.emit(relax.op.sum(data, axes, keepdims=True))
    sign = op.emit(relax.op.sign(total))
    size = op.emit(relax.op.floor_divide(op.emit(relax.op.abs(total)), relax.const(count, "int32")))
    return relax.op.multiply(sign, size)


def _pad(op: Operation) -> Value:
    """The value is an attribute in old texts, an operand in newer ones."""
    if op.text("pad_mode", "constant") != "constant":
        raise ValueError(f"pad_mode={op.text('pad_mode', '')!r}")
    value = op.number("pad_value", 0.0)
    if len(op.args) > 1:
        value = float(op.args[1].value.numpy())
    widths = op.attributes.get("pad_width", ())
    assert isinstance(widths, tuple)
    flat = [int(v) for pair in widths if isinstance(pair, tuple) for v in pair]  # type: ignore[arg-type]
    return relax.op.nn.pad(op.args[0], flat, pad_value=value)


ROWS: dict[str, Row] = {
    "abs": _plain(relax.op.abs),
    "add": _plain(relax.op.add),
    "annotation.cast_hint": _first,
    "annotation.stop_fusion": _first,
    "cast": _cast,
    "clip": _clip,
    "concatenate": _concatenate,
    "copy": _first,
    "divide": _plain(relax.op.divide),
    "erf": _plain(relax.op.erf),
    "exp": _plain(relax.op.exp),
    "expand_dims": _expand_dims,
    "floor": _plain(relax.op.floor),
    "log": _plain(relax.op.log),
    "maximum": _plain(relax.op.maximum),
    "mean": _reduce(relax.op.mean),
    "minimum": _plain(relax.op.minimum),
    "multiply": _plain(relax.op.multiply),
    "negative": _plain(relax.op.negative),
    "nn.avg_pool2d": _pool(relax.op.nn.avg_pool2d),
    "nn.batch_flatten": _batch_flatten,
    "nn.batch_matmul": _batch_matmul,
    "nn.batch_norm": _batch_norm,
    "nn.bias_add": _bias_add,
    "nn.conv2d": _conv2d,
    "nn.dense": _dense,
    "nn.dropout": lambda op: [op.args[0], op.args[0]],
    "nn.global_avg_pool2d": _global_average,
    "nn.layer_norm": _layer_norm,
    "nn.leaky_relu": _leaky_relu,
    "nn.matmul": _matmul,
    "nn.max_pool2d": _pool(relax.op.nn.max_pool2d),
    "nn.pad": _pad,
    "nn.relu": _plain(relax.op.nn.relu),
    "nn.softmax": _softmax,
    "power": _plain(relax.op.power),
    "reshape": _reshape,
    "right_shift": _plain(relax.op.right_shift),
    "round": _plain(relax.op.round),
    "rsqrt": _plain(relax.op.rsqrt),
    "sigmoid": _plain(relax.op.sigmoid),
    "split": _split,
    "sqrt": _plain(relax.op.sqrt),
    "squeeze": _squeeze,
    "strided_slice": _strided_slice,
    "subtract": _plain(relax.op.subtract),
    "sum": _reduce(relax.op.sum),
    "take": _take,
    "tanh": _plain(relax.op.tanh),
    "transpose": _transpose,
}
