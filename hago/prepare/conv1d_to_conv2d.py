"""Run one-dimensional windows as two-dimensional ones of height 1.

conv1d(x[N, C, W], w[O, I, W]) => reshape(conv2d(x[N, C, 1, W], w[O, I, 1, W]))
and the same for max_pool1d and avg_pool1d
"""

from __future__ import annotations

import tvm
from tvm import relax

from hago.prepare.expression import (
    constant,
    constant_of,
    integers,
    op_name,
    positive_axes,
    shape_of,
    with_changes,
)
from hago.prepare.rewrite import Rule, Scope, rewrite


def conv1d_to_conv2d(module: tvm.IRModule) -> tvm.IRModule:
    """A module without ``nn.conv1d`` and one-dimensional pools in NCW."""
    return rewrite(module, _widen)


def _widen(call: relax.Call, scope: Scope) -> relax.Expr | None:
    rule = _RULES.get(op_name(call))
    if rule is None:
        return None
    wide = rule(call, scope)
    return None if wide is None else relax.op.reshape(wide, shape_of(call))


def _with_height(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], shape[1], 1, shape[2])


def _conv(call: relax.Call, scope: Scope) -> relax.Expr | None:
    weight, attributes = _wide_weight(call.args[1], scope), call.attrs
    if weight is None or (attributes.data_layout, attributes.kernel_layout) != ("NCW", "OIW"):
        return None
    begin, end = integers(attributes.padding)
    return relax.op.nn.conv2d(
        relax.op.reshape(call.args[0], _with_height(shape_of(call.args[0]))),
        weight,
        strides=[1, *integers(attributes.strides)],
        padding=[0, begin, 0, end],
        dilation=[1, *integers(attributes.dilation)],
        groups=int(attributes.groups),
    )


def _wide_weight(weight: relax.Expr, scope: Scope) -> relax.Expr | None:
    """A constant [O, I, W] or dequantized codes of that shape, with a height; else None."""
    codec = scope.call(weight, "dequantize")
    codes = constant_of(weight if codec is None else codec.args[0])
    if codes is None:
        return None
    wide = constant(codes.reshape(_with_height(codes.shape)))
    if codec is None:
        return wide
    axis = (0, 1, 3)[positive_axes([codec.attrs.axis], codes.ndim)[0]]
    return with_changes(codec, [wide, *codec.args[1:]], {"axis": axis})


def _pool(call: relax.Call, scope: Scope) -> relax.Expr | None:
    attributes = call.attrs
    if attributes.layout != "NCW":
        return None
    begin, end = integers(attributes.padding)
    pool = {"nn.max_pool1d": relax.op.nn.max_pool2d, "nn.avg_pool1d": relax.op.nn.avg_pool2d}
    return pool[op_name(call)](
        relax.op.reshape(call.args[0], _with_height(shape_of(call.args[0]))),
        [1, *integers(attributes.pool_size)],
        [1, *integers(attributes.strides)],
        [0, begin, 0, end],
        [1, *integers(attributes.dilation)],
        bool(attributes.ceil_mode),
        bool(attributes.count_include_pad),
    )


_RULES: dict[str, Rule] = {"nn.conv1d": _conv, "nn.max_pool1d": _pool, "nn.avg_pool1d": _pool}
