"""What spellings of normalizations have in common: a tensor over the root of its mean square."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tvm import relax

from hago.prepare.expression import (
    Array,
    is_call,
    positive_axes,
    rank_of,
    scalar_of,
)
from hago.prepare.rewrite import Scope


def over_roots(call: relax.Call, scope: Scope) -> Iterator[tuple[relax.Expr, relax.Expr]]:
    """Each ``(x, v)`` for which `call` is ``x / sqrt(v)``, in any spelling."""
    if is_call(call, "divide"):
        root = scope.call(call.args[1], "sqrt")
        if root is not None:
            yield call.args[0], root.args[0]
    if is_call(call, "multiply"):
        for value, factor in (call.args, list(call.args)[::-1]):
            radicand = _under_reciprocal_root(factor, scope)
            if radicand is not None:
                yield value, radicand


def _under_reciprocal_root(factor: relax.Expr, scope: Scope) -> relax.Expr | None:
    """``v`` where `factor` is ``rsqrt(v)`` or ``1 / sqrt(v)``."""
    direct = scope.call(factor, "rsqrt")
    if direct is not None:
        return direct.args[0]
    ratio = scope.call(factor, "divide")
    if ratio is None or scalar_of(ratio.args[0]) != 1.0:
        return None
    root = scope.call(ratio.args[1], "sqrt")
    return None if root is None else root.args[0]


def mean_square(
    radicand: relax.Expr, x: relax.Expr, scope: Scope
) -> tuple[list[int], float] | None:
    """``(axes, epsilon)`` where `radicand` is ``mean(x * x) + epsilon`` over trailing axes."""
    shifted = scope.call(radicand, "add")
    if shifted is None:
        return None
    squares, epsilon = scope.call(shifted.args[0], "mean"), scalar_of(shifted.args[1])
    if squares is None or epsilon is None:
        return None
    square = scope.call(squares.args[0], "multiply")
    if square is None or not all(operand.same_as(x) for operand in square.args):
        return None
    axes = mean_axes(shifted.args[0], squares.args[0], scope)
    return None if axes is None else (axes, epsilon)


def mean_axes(expr: relax.Expr, x: relax.Expr, scope: Scope) -> list[int] | None:
    """The trailing axes over which `expr` is the mean of `x`, None if it is not."""
    mean = scope.call(expr, "mean")
    if mean is None or not mean.args[0].same_as(x) or not mean.attrs.keepdims:
        return None
    rank = rank_of(x)
    axes = sorted(positive_axes(mean.attrs.axis, rank)) if mean.attrs.axis is not None else []
    return axes if axes and axes == list(range(axes[0], rank)) else None


def as_parameter(value: Array, shape: tuple[int, ...]) -> Array | None:
    """`value` broadcast to the `shape` of a norm's parameters; None if it varies along axes in
    front of them."""
    leading = value.shape[: max(value.ndim - len(shape), 0)]
    if any(size != 1 for size in leading):
        return None
    trailing = value.reshape(value.shape[len(leading) :])
    if np.broadcast_shapes(trailing.shape, shape) != shape:
        return None
    return np.broadcast_to(trailing, shape)
