"""Questions about one Relax expression: its value, shape, dtype, operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax

Array = npt.NDArray[Any]


def op_name(expr: relax.Expr) -> str:
    """Operator of a call without ``relax.``, such as ``nn.conv2d``; "" for anything else."""
    if not isinstance(expr, relax.Call) or not isinstance(expr.op, tvm.ir.Op):
        return ""
    return str(expr.op.name).removeprefix("relax.")


def is_call(expr: relax.Expr, *ops: str) -> bool:
    """Whether `expr` is a call of one of `ops`."""
    return op_name(expr) in ops


def constant_of(expr: relax.Expr) -> Array | None:
    """The value of a constant as numpy, None for anything else."""
    if not isinstance(expr, tvm.ir.GenericConst):
        return None
    value: Array = expr.value.numpy()
    return value


def scalar_of(expr: relax.Expr) -> float | None:
    """The value of a constant that has one element."""
    value = constant_of(expr)
    return None if value is None or value.size != 1 else float(value.item())


def constant(value: npt.ArrayLike) -> relax.Expr:
    """A Relax constant of the array's own dtype (which Relax alone would narrow)."""
    array = np.asarray(value, order="C")
    return relax.const(array, str(array.dtype))


def shape_of(expr: relax.Expr) -> tuple[int, ...]:
    """Sizes of a tensor; here every shape is static."""
    return tuple(int(d) for d in expr.ty.shape)


def rank_of(expr: relax.Expr) -> int:
    """Number of axes."""
    return len(shape_of(expr))


def dtype_of(expr: relax.Expr) -> str:
    """Element type as numpy spells it."""
    return str(expr.ty.dtype)


def integers(values: Sequence[object]) -> list[int]:
    """Attribute or shape values as Python integers."""
    return [int(v) for v in values]  # type: ignore[call-overload]


def positive_axes(axes: Sequence[object], rank: int) -> list[int]:
    """Axes counted from the front."""
    return [a % rank for a in integers(axes)]


def permutation_of(call: relax.Call) -> list[int]:
    """Axes of a `permute_dims`: output axis k is input axis ``axes[k]``."""
    axes = call.attrs.axes
    return list(range(rank_of(call)))[::-1] if axes is None else positive_axes(axes, rank_of(call))


def tuple_of_integers(expr: relax.Expr) -> list[int]:
    """A tuple of primitive values, as the slices and shapes of calls are written."""
    return [int(v) for v in expr.fields]


@dataclass(frozen=True)
class Run:
    """Elements `begin` to `end` (exclusive) of one axis."""

    axis: int
    begin: int
    end: int


def slice_of(call: relax.Call) -> Run | None:
    """The run that a `strided_slice` takes if it is one run of one axis, else None."""
    axes, begin, end = (tuple_of_integers(x) for x in call.args[1:4])
    strides = tuple_of_integers(call.args[4]) if len(call.args) > 4 else [1]
    if len(axes) != 1 or strides != [1]:
        return None
    axis = axes[0] % rank_of(call.args[0])
    low, high, _ = slice(begin[0], end[0]).indices(shape_of(call.args[0])[axis])
    return Run(axis, low, high)


def with_changes(
    call: relax.Call, operands: Sequence[relax.Expr], changes: Mapping[str, object]
) -> relax.Call:
    """`call` on other operands, the attributes named in `changes` replaced."""
    if call.attrs is None or not changes:
        return relax.Call(call.op, list(operands), call.attrs, call.ty_args)
    info = type(call.attrs).__tvm_ffi_type_info__
    fields = {f.name: getattr(call.attrs, f.name) for f in info.fields}
    attributes = tvm.ir.make_node(info.type_key, **{**fields, **changes})
    return relax.Call(call.op, list(operands), attributes, call.ty_args)


def dequantized_value(call: relax.Call) -> Array | None:
    """float32 value of a `dequantize` of constants, None if an operand is not one."""
    codes, scale, zero = (constant_of(x) for x in call.args)
    if codes is None or scale is None or zero is None:
        return None
    shape = [1] * codes.ndim
    if scale.size > 1:
        shape[positive_axes([call.attrs.axis], codes.ndim)[0]] = -1
    scale, zero = (v.reshape(shape) if v.size > 1 else v.reshape(()) for v in (scale, zero))
    value: Array = ((codes.astype(np.int64) - zero) * scale.astype(np.float64)).astype(np.float32)
    return value
