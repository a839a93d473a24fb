"""Permutations of axes: composing them, and pushing one up to where it costs least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import relax

from hago.prepare.expression import (
    constant,
    constant_of,
    permutation_of,
    positive_axes,
    rank_of,
    with_changes,
)
from hago.prepare.rewrite import Scope


@dataclass(frozen=True, eq=False)
class Permuted:
    """A value that is ``permute_dims(source, axes)``: its axis k is the source's ``axes[k]``."""

    source: relax.Expr
    axes: tuple[int, ...]

    @property
    def inverse(self) -> tuple[int, ...]:
        """The permutation that gives the source back."""
        return tuple(self.axes.index(a) for a in range(len(self.axes)))

    def restore(self, value: relax.Expr) -> relax.Expr:
        """`value`, computed in the source's order, in the order of the permuted value."""
        return relax.op.permute_dims(value, list(self.axes))


def permuted_of(expr: relax.Expr, scope: Scope) -> Permuted | None:
    """How `expr` permutes another value, None if it does not."""
    call = scope.call(expr, "permute_dims")
    return None if call is None else Permuted(call.args[0], tuple(permutation_of(call)))


def permute(expr: relax.Expr, axes: Sequence[int], scope: Scope) -> relax.Expr:
    """``permute_dims(expr, axes)`` at its cheapest: constants and codes are permuted instead.

    A permutation cancels or joins an earlier one, and goes through quantize and dequantize, so
    that a quantized operator stays next to them.
    """
    if list(axes) == sorted(axes):
        return expr
    value = constant_of(expr)
    if value is not None:
        return constant(value.transpose(axes))
    earlier = permuted_of(expr, scope)
    if earlier is not None:
        return permute(earlier.source, [earlier.axes[a] for a in axes], scope)
    codec = scope.call(expr, "quantize", "dequantize")
    if codec is not None:
        source = permute(codec.args[0], axes, scope)
        return scope.emit(on_axis(codec, source, list(axes).index(quantized_axis(codec))))
    return scope.emit(relax.op.permute_dims(expr, list(axes)))


def quantized_axis(codec: relax.Call) -> int:
    """The axis of a quantize or dequantize, counted from the front."""
    return positive_axes([codec.attrs.axis], rank_of(codec.args[0]))[0]


def on_axis(codec: relax.Call, source: relax.Expr, axis: int) -> relax.Call:
    """The same codec on permuted data; per tensor the axis says nothing and stays."""
    is_per_tensor = rank_of(codec.args[1]) == 0
    axis = int(codec.attrs.axis) if is_per_tensor else axis
    return with_changes(codec, [source, *codec.args[1:]], {"axis": axis})
