"""Affine arithmetic of an epilogue with constants merged into one multiplication and addition.

    quantize((float(acc + c) * s + b) + (float(r) - z) * t, scale)
        =>  quantize(float(acc) * s' + b' + float(r) * t', 1)
            s' = s / scale    b' = (b + c * s - z * t) / scale    t' = t / scale

Constants are merged in float64 and rounded once, so the real value before a rounding differs by
float32 rounding only. An int32 correction becomes part of the constant, too: an accumulator is an
exact float32 up to 2^24, and rounded as the corrected one would be beyond.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from hago.codegen.epilogue import Epilogue, Step
from hago.lower.expression import Expression, Source, Value
from hago.scheme import Array


@dataclass(frozen=True, eq=False)
class Affine:
    """``sum(value * factor) + constant``; factors and constant are float64 arrays that broadcast
    against the kernel's output."""

    terms: tuple[tuple[Value, Array], ...]
    constant: Array


Term: TypeAlias = Affine | Value
Rule: TypeAlias = Callable[[Step, Sequence[Affine]], "Affine | None"]
_NOTHING = np.zeros(())
_DTYPES = ("uint8", "int8", "int32", "int64", "bfloat16")
_INSTRUCTIONS = ("sqrdmulh", "srshl", "sqshl")  # of int32
_QUANTIZATIONS = ("quantize", "quantize_uint8", "quantize_int8")


def merge_affine(
    epilogue: Epilogue, sources: Sequence[Source]
) -> tuple[Epilogue, tuple[Source, ...]]:
    """``epilogue`` with its constants merged, and where its operands come from.

    ``sources`` are those of its operands: arrays are constants.
    """
    if not epilogue.steps:
        return epilogue, tuple(sources)
    merging = _Merging(epilogue, sources)
    for number, step in enumerate(epilogue.steps, start=1 + len(sources)):
        merging.follow(number, step)
    merged = merging.expression.finish(merging.value(merging.terms[merging.last]))
    assert merged[0].dtype == epilogue.dtype, "merging changes no dtype"
    return merged


class _Merging:
    """The values of an epilogue by number: computed, or affine and not computed yet."""

    def __init__(self, epilogue: Epilogue, sources: Sequence[Source]) -> None:
        self.epilogue, self.sources = epilogue, sources
        self.expression = Expression(epilogue.accumulator)
        self.last = len(sources) + len(epilogue.steps)
        self.terms: dict[int, Term] = {0: self.expression.accumulator}
        for number, (operand, source) in enumerate(
            zip(epilogue.operands, sources, strict=True), start=1
        ):
            if isinstance(source, str) or operand.dtype != "float32":
                term: Term = self.expression.operand(source, operand.shape, operand.dtype)
            else:
                term = Affine((), source.reshape(operand.shape).astype(np.float64))
            self.terms[number] = term

    def follow(self, number: int, step: Step) -> None:
        """Give ``number`` the term of ``step``."""
        term: Term | None = self._corrected(step) if step.op == "float" else self._affine(step)
        if term is None and step.op in _QUANTIZATIONS:
            term = self._quantized(step)
        self.terms[number] = self._computed(step) if term is None else term

    def _affine(self, step: Step) -> Affine | None:
        rule = _RULES.get(step.op)
        return rule(step, [_as_affine(self.terms[arg]) for arg in step.args]) if rule else None

    def _corrected(self, step: Step) -> Affine | None:
        """float(x + c) as float(x) + c, for a constant c."""
        known = 1 + len(self.sources)
        (source,) = step.args
        inner = self.epilogue.steps[source - known] if source >= known else None
        if inner is None or inner.op != "add_int32" or not 1 <= inner.args[1] < known:
            return None
        correction = self.sources[inner.args[1] - 1]
        if isinstance(correction, str):
            return None
        real = self._computed(Step("float", inner.args[:1]))
        shape = self.epilogue.operands[inner.args[1] - 1].shape
        return Affine(((real, np.ones(())),), correction.reshape(shape).astype(np.float64))

    def _quantized(self, step: Step) -> Value:
        """Quantization with a step of 1 of what was divided by the scale before."""
        scale, zero_point, low, high = step.consts
        reciprocal = np.asarray(1 / np.float64(np.float32(scale)))
        scaled = self.value(_scaled(_as_affine(self.terms[step.args[0]]), reciprocal))
        consts = (1.0, zero_point, low, high)
        return self.expression.step(step.op, scaled, consts=consts, dtype=step_dtype(step.op))

    def _computed(self, step: Step) -> Value:
        values = [self.value(self.terms[arg]) for arg in step.args]
        return self.expression.step(step.op, *values, consts=step.consts, dtype=step_dtype(step.op))

    def value(self, term: Term) -> Value:
        """``term`` as steps: each product takes the sum so far as its addend."""
        if isinstance(term, Value):
            return term
        if not term.terms:
            return self._constant(term.constant)
        (first, factor), *rest = term.terms
        total = self._times(first, factor)
        if np.any(term.constant != 0):
            total = self.expression.step("add", total, self._constant(term.constant))
        for value, factor in rest:
            total = self.expression.step("add", total, self._times(value, factor))
        return total

    def _times(self, value: Value, factor: Array) -> Value:
        if np.all(factor == 1):
            return value
        return self.expression.step("multiply", value, self._constant(factor))

    def _constant(self, constant: Array) -> Value:
        """An operand, numbers too: layers that differ in numbers only share a kernel."""
        rounded = constant.astype(np.float32)
        return self.expression.operand(rounded, rounded.shape, "float32")


def step_dtype(op: str) -> str:
    """What a step gives."""
    if op in _INSTRUCTIONS:
        return "int32"
    if op.startswith("encode_"):
        return op.removeprefix("encode_")
    name = op.rpartition("_")[2]
    return name if name in _DTYPES and op != "from_bfloat16" else "float32"


def _as_affine(term: Term) -> Affine:
    return term if isinstance(term, Affine) else Affine(((term, np.ones(())),), _NOTHING)


def _scaled(value: Affine, factor: Array) -> Affine:
    terms = tuple((inner, own * factor) for inner, own in value.terms)
    return Affine(terms, value.constant * factor)


def _sum(step: Step, args: Sequence[Affine]) -> Affine | None:
    left, right = args
    if not _fits(left.constant, right.constant):
        return None
    return Affine(left.terms + right.terms, left.constant + right.constant)


def _difference(step: Step, args: Sequence[Affine]) -> Affine | None:
    return _sum(step, (args[0], _scaled(args[1], np.asarray(-1.0))))


def _product(step: Step, args: Sequence[Affine]) -> Affine | None:
    constant = next((arg for arg in args if not arg.terms), None)
    if constant is None:
        return None
    other = args[1] if constant is args[0] else args[0]
    return _multiplied(other, constant.constant)


def _quotient(step: Step, args: Sequence[Affine]) -> Affine | None:
    return None if args[1].terms else _multiplied(args[0], 1 / args[1].constant)


def _multiplied(value: Affine, factor: Array) -> Affine | None:
    arrays = (value.constant, *(own for _, own in value.terms))
    return _scaled(value, factor) if all(_fits(array, factor) for array in arrays) else None


def _fits(left: Array, right: Array) -> bool:
    """Whether both broadcast to no more than the larger one."""
    shape = np.broadcast_shapes(left.shape, right.shape)
    return math.prod(shape) <= max(left.size, right.size)


# Operations that are affine in one argument at least, where the others are constants.
_RULES: dict[str, Rule] = {
    "add": _sum,
    "subtract": _difference,
    "multiply": _product,
    "divide": _quotient,
    "add_const": lambda step, args: Affine(args[0].terms, args[0].constant + step.consts[0]),
    "multiply_const": lambda step, args: _scaled(args[0], np.asarray(step.consts[0])),
    "divide_const": lambda step, args: _scaled(args[0], np.asarray(1 / step.consts[0])),
    "negative": lambda step, args: _scaled(args[0], np.asarray(-1.0)),
}
