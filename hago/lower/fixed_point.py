"""Fixed-point requantization on 32 bits, where it is proven to give what 64 bits give.

    (int64(x) * m + 2^30) >> 31        =>  sqrdmulh(x, m)
    (x + 2^(n-1)) >> n                 =>  srshl(x, -n)
    clip(x * 2^n, -2^31, 2^31 - 1)     =>  sqshl(x, n)
    int8(clip(x + z, low, high))       =>  saturate_int8(x)
    (x + a) + b                        =>  x + (a + b)

The realized module computes in int64 (hago/realize/fixed_point.py). Here every value has a range,
which starts from the weights: an accumulator cannot leave the range that its channel's weights
allow. A value whose range leaves int32 keeps the whole epilogue in 64 bits, slow and right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from hago.codegen.epilogue import Step
from hago.codegen.workload import PROVEN, BatchMatmul, Conv2d, Matmul, Pool2d
from hago.lower.affine import step_dtype
from hago.lower.expression import Expression, Value
from hago.lower.group import Group

Integers: TypeAlias = npt.NDArray[np.int64]
_INT32 = (-(2**31), 2**31 - 1)
_INTEGERS = ("uint8", "int8", "int32", "int64")
_MOST_SHIFT = 32  # SRSHL leaves nothing of an int32 then, as any larger shift
INSTRUCTIONS = frozenset({"sqrdmulh"})


@dataclass(frozen=True, eq=False)
class _Term:
    """``value + offset`` (a constant that is not added yet), known to be in ``low..high``; arrays
    broadcast against the kernel's output. ``value`` is None for a constant alone."""

    value: Value | None
    offset: Integers
    low: Integers
    high: Integers

    @property
    def fits(self) -> bool:
        return bool(self.low.min() >= _INT32[0] and self.high.max() <= _INT32[1])


_Number: TypeAlias = _Term | Value


class _TooWideError(Exception):
    """A value may leave int32: the epilogue stays as it is."""


def in_fixed_point(group: Group) -> Group:
    """``group`` with an epilogue on 32 bits, if one of int64 can be had so."""
    if all(step.op != "int64" for step in group.epilogue.steps):
        return group
    try:
        narrowing = _Narrowing(group)
        epilogue, operands = narrowing.expression.finish(narrowing.result())
    except _TooWideError:
        return group
    return replace(group, epilogue=epilogue, operands=operands)


def accumulator_range(group: Group) -> tuple[Integers, Integers]:
    """The lowest and the highest value 0 of the epilogue, for each channel or for all."""
    work, weight = group.workload, group.weight
    if isinstance(work, (Conv2d, Matmul)) and isinstance(weight, np.ndarray):
        axes = (1, 2, 3) if isinstance(work, Conv2d) else (0,)
        codes, bounds = weight.astype(np.int64), np.iinfo(work.data)
        above = np.maximum(codes, 0).sum(axis=axes)
        below = np.minimum(codes, 0).sum(axis=axes)
        return bounds.min * above + bounds.max * below, bounds.max * above + bounds.min * below
    if isinstance(work, Pool2d) and work.kind == "avg":
        bounds, count = np.iinfo(work.data), math.prod(work.window)
        return np.asarray(min(bounds.min * count, 0)), np.asarray(bounds.max * count)
    if isinstance(work, BatchMatmul):
        largest = math.prod(_magnitude(dtype) for dtype in (work.data, work.weight)) * work.k
        return np.asarray(-largest), np.asarray(largest)
    return _dtype_range(group.epilogue.accumulator)


def _magnitude(dtype: str) -> int:
    bounds = np.iinfo(PROVEN.get(dtype, dtype))
    return max(-int(bounds.min), int(bounds.max))


def _dtype_range(dtype: str) -> tuple[Integers, Integers]:
    if dtype not in ("uint8", "int8", "int32"):
        raise _TooWideError
    bounds = np.iinfo(dtype)
    return np.asarray(bounds.min, np.int64), np.asarray(bounds.max, np.int64)


class _Narrowing:
    """The values of an epilogue by number; None for what has no form on 32 bits by itself."""

    def __init__(self, group: Group) -> None:
        self.epilogue, self.sources = group.epilogue, group.operands
        self.expression = Expression(group.epilogue.accumulator)
        self.known = 1 + len(self.sources)
        zero = np.zeros((), np.int64)
        low, high = accumulator_range(group)
        # Other numbers than integers are values as they are.
        self.terms: list[_Number | None] = [_Term(self.expression.accumulator, zero, low, high)]
        self.terms += [self._operand(number) for number in range(len(self.sources))]
        for step in self.epilogue.steps:
            self.terms.append(self._term(step))

    def result(self) -> Value:
        """The value of the last step in the epilogue's dtype."""
        last, final = self.epilogue.steps[-1], self.terms[-1]
        if isinstance(final, Value):
            return final
        if last.op not in ("int8", "uint8"):
            return self._as(self._value(final), self.epilogue.dtype)
        bounds = np.iinfo(last.op)
        low, high = float(bounds.min), float(bounds.max)
        clip = self._step(last.args[0])
        source = last.args[0]
        if clip is not None and clip.op == "clip_int64":
            (low, high), (source,) = clip.consts, clip.args
        term = self.terms[source]
        assert isinstance(term, _Term), "narrow integers come from integers"
        if not term.fits:
            raise _TooWideError
        zero_point = 0
        if term.offset.size == 1 and bounds.min <= term.offset.min() <= bounds.max:
            zero_point = int(term.offset.reshape(()))
            term = replace(term, offset=np.zeros((), np.int64))
        consts = (float(zero_point), low, high)
        op = f"saturate_{last.op}"
        return self.expression.step(op, self._value(term), consts=consts, dtype=last.op)

    def _as(self, value: Value, dtype: str) -> Value:
        if value.dtype == dtype:
            return value
        return self.expression.step(dtype, value, dtype=dtype)

    def _operand(self, number: int) -> _Number:
        source, operand = self.sources[number], self.epilogue.operands[number]
        zero = np.zeros((), np.int64)
        if isinstance(source, str) or source.dtype.kind not in "iu":
            value = self.expression.operand(source, operand.shape, operand.dtype)
            if operand.dtype not in _INTEGERS:
                return value
            return _Term(value, zero, *_dtype_range(operand.dtype))
        constant = source.reshape(operand.shape).astype(np.int64)
        return _Term(None, constant, constant, constant)

    def _step(self, number: int) -> Step | None:
        return self.epilogue.steps[number - self.known] if number >= self.known else None

    def _term(self, step: Step) -> _Number | None:
        row, args = _ROWS.get(step.op), [self.terms[arg] for arg in step.args]
        if row is not None and not any(isinstance(arg, Value) for arg in args):
            return row(self, step)
        values = [self._value(arg) for arg in args]
        return self.expression.step(
            step.op, *values, consts=step.consts, dtype=step_dtype(step.op)
        )

    def _value(self, term: _Number | None) -> Value:
        """``term`` as one value, int32 if it is an integer."""
        if isinstance(term, Value):
            return term
        if term is None or not term.fits:
            raise _TooWideError
        if term.value is None:
            return self.constant(term.offset)
        value = self._as(term.value, "int32")
        if not np.any(term.offset):
            return value
        return self.expression.step("add_int32", value, self.constant(term.offset), dtype="int32")

    def constant(self, value: Integers) -> Value:
        narrow = value.astype(np.int32)
        if np.any(narrow != value):
            raise _TooWideError
        return self.expression.operand(narrow, narrow.shape, "int32")

    def constant_of(self, number: int) -> Integers | None:
        """The constant that value ``number`` is, or None."""
        term = self.integer(number)
        return term.offset if term is not None and term.value is None else None

    def integer(self, number: int) -> _Term | None:
        """Value ``number``, which is an integer, if it has a form on 32 bits."""
        term = self.terms[number]
        assert not isinstance(term, Value), "integer arithmetic takes integers"
        return term

    def widened(self, step: Step) -> _Term | None:
        """The same number: all values have 32 bits here."""
        return self.integer(step.args[0])

    def narrowed(self, step: Step) -> _Term | None:
        """Codes that are read again as integers: they are within their dtype already."""
        term, bounds = self.integer(step.args[0]), np.iinfo(step.op)
        if term is None or term.low.min() < bounds.min or term.high.max() > bounds.max:
            raise _TooWideError
        return term

    def add(self, step: Step) -> _Term | None:
        left, right = (self.integer(arg) for arg in step.args)
        if left is None or right is None:
            return None
        if left.value is None:
            left, right = right, left
        low, high = left.low + right.low, left.high + right.high
        if right.value is None:
            return self._within(step, _Term(left.value, left.offset + right.offset, low, high))
        return self._within(step, self._joined("add_int32", left, right, low, high))

    def subtract(self, step: Step) -> _Term | None:
        left, right = (self.integer(arg) for arg in step.args)
        if left is None or right is None:
            return None
        low, high = left.low - right.high, left.high - right.low
        if right.value is None:
            return self._within(step, _Term(left.value, left.offset - right.offset, low, high))
        return self._within(step, self._joined("subtract_int32", left, right, low, high))

    def _joined(
        self, op: str, left: _Term, right: _Term, low: Integers, high: Integers
    ) -> _Term:
        """``op`` of two computed numbers, which is in ``low..high``."""
        value = self.expression.step(op, self._value(left), self._value(right), dtype="int32")
        return _Term(value, np.zeros((), np.int64), low, high)

    def _within(self, step: Step, term: _Term) -> _Term:
        """The range of a sum that the module declares to be int32: it proved that (an overflow is
        an error of the reference interpreter, too)."""
        if not step.op.endswith("_int32"):
            return term
        return replace(
            term, low=np.maximum(term.low, _INT32[0]), high=np.minimum(term.high, _INT32[1])
        )

    def multiply(self, step: Step) -> _Term | None:
        left, right = (self.integer(arg) for arg in step.args)
        if left is None or right is None or not (left.fits and right.fits):
            return None
        corners = [a * b for a in (left.low, left.high) for b in (right.low, right.high)]
        low = np.minimum.reduce(np.broadcast_arrays(*corners))
        high = np.maximum.reduce(np.broadcast_arrays(*corners))
        if low.min() < _INT32[0] or high.max() > _INT32[1]:
            return None
        return self._joined("multiply_int32", left, right, low, high)

    def clip(self, step: Step) -> _Term | None:
        low, high = (int(bound) for bound in step.consts)
        term = self.integer(step.args[0])
        if term is None:
            return self._saturated(step.args[0]) if (low, high) == _INT32 else None
        within = replace(term, low=np.maximum(term.low, low), high=np.minimum(term.high, high))
        if np.all(term.low >= low) and np.all(term.high <= high):
            return within
        value = self.expression.step(
            "clip_int32", self._value(term), consts=(float(low), float(high)), dtype="int32"
        )
        return replace(within, value=value, offset=np.zeros((), np.int64))

    def _saturated(self, number: int) -> _Term | None:
        """``clip(x * 2^n)`` within int32 for value ``number``, the product."""
        product = self._step(number)
        if product is None or product.op != "multiply_int64":
            return None
        factor, term = self.constant_of(product.args[1]), self.integer(product.args[0])
        if factor is None or term is None or np.any(factor < 1) or np.any(factor & (factor - 1)):
            return None
        shift = self.constant(np.log2(factor).astype(np.int64))
        value = self.expression.step("sqshl", self._value(term), shift, dtype="int32")
        low, high = (np.clip(bound * factor, *_INT32) for bound in (term.low, term.high))
        return _Term(value, np.zeros((), np.int64), low, high)

    def shift_right(self, step: Step) -> _Term | None:
        bits, added = self.constant_of(step.args[1]), self._step(step.args[0])
        if bits is None or added is None or added.op != "add_int64":
            return None
        half = self.constant_of(added.args[1])
        if half is None or np.any(half != np.where(bits > 0, 2 ** np.maximum(bits - 1, 0), 0)):
            return None
        product = self._step(added.args[0])
        if product is not None and product.op == "multiply_int64" and np.all(bits == 31):
            return self._upper_half(product)
        term = self.integer(added.args[0])
        if term is None:
            return None
        shift = np.minimum(bits, _MOST_SHIFT)
        value = self.expression.step(
            "srshl", self._value(term), self.constant(-shift), dtype="int32"
        )
        low, high = ((bound + half) >> bits for bound in (term.low, term.high))
        return _Term(value, np.zeros((), np.int64), low, high)

    def _upper_half(self, product: Step) -> _Term | None:
        multiplier, term = self.constant_of(product.args[1]), self.integer(product.args[0])
        if multiplier is None or term is None or np.any(multiplier < 0) or not term.fits:
            return None
        value = self.expression.step(
            "sqrdmulh", self._value(term), self.constant(multiplier), dtype="int32"
        )
        low, high = ((bound * multiplier + 2**30) >> 31 for bound in (term.low, term.high))
        return _Term(value, np.zeros((), np.int64), low, high)


_ROWS: Mapping[str, Callable[[_Narrowing, Step], Any]] = {
    "int64": _Narrowing.widened,
    "int32": _Narrowing.widened,
    "int8": _Narrowing.narrowed,
    "uint8": _Narrowing.narrowed,
    "add_int32": _Narrowing.add,
    "add_int64": _Narrowing.add,
    "subtract_int32": _Narrowing.subtract,
    "subtract_int64": _Narrowing.subtract,
    "multiply_int32": _Narrowing.multiply,
    "multiply_int64": _Narrowing.multiply,
    "clip_int64": _Narrowing.clip,
    "shift_right_int64": _Narrowing.shift_right,
}
