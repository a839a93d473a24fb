"""Epilogues: elementwise expressions over an accumulator, as data.

One object has both meanings. :meth:`Epilogue.emit` gives the vector code that a kernel template
places behind its loops; :meth:`Epilogue.evaluate` gives the numpy value that judges it.
Values are numbered: 0 is the accumulator (or the first input of a plain elementwise kernel),
1..n the operands, then one number for each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import tirx as tir

from hago.codegen import vector
from hago.codegen.operations import OPERATIONS

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Operand:
    """A tensor that an epilogue reads beside the accumulator.

    ``shape`` broadcasts (numpy's rules) against the kernel's logical output shape.
    ``dtype`` is what lies in memory: float32, int32, uint8 or int8.
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Step:
    """``op`` of ``hago.codegen.operations.OPERATIONS`` on earlier values and constants."""

    op: str
    args: tuple[int, ...]
    consts: tuple[float, ...] = ()


@dataclass(frozen=True)
class Narrowing:
    """The quantization to bytes at the end of an epilogue, with its bounds as codes.

    ``scale`` is None where codes (without the zero point) were integers before.
    """

    dtype: str
    scale: float | None
    zero_point: int
    low: float
    high: float

    def round(self, x: tir.Expr) -> tir.Expr:
        """int32 codes of ``x`` without zero point. The lower bound of the dtype is left to the
        saturation of the packing; the upper is not, because the conversion of a number above
        2^31 is negative."""
        if self.scale is None:
            return self._bounded(x)
        at_bottom = self.low <= np.iinfo(self.dtype).min
        low = -math.inf if at_bottom else self.low - self.zero_point
        return vector.round_codes(x, self.scale, low, self.high - self.zero_point)

    def _bounded(self, codes: tir.Expr) -> tir.Expr:
        """``codes`` within those bounds that are closer than the dtype's."""
        limits = np.iinfo(self.dtype)
        if self.high < limits.max:
            high = int(self.high) - self.zero_point
            codes = tir.min(codes, vector.splat(high, codes, "int32"))
        if self.low > limits.min:
            low = int(self.low) - self.zero_point
            codes = tir.max(codes, vector.splat(low, codes, "int32"))
        return codes


@dataclass(frozen=True)
class Epilogue:
    """``steps`` over (accumulator, operands); the last value, as ``dtype``, is the output.

    ``accumulator`` is the dtype of value 0 (int32, float32, uint8 or int8).
    """

    accumulator: str
    dtype: str
    operands: tuple[Operand, ...] = ()
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        known = 1 + len(self.operands)
        for number, step in enumerate(self.steps):
            if step.op not in OPERATIONS:
                raise ValueError(f"no elementwise operation {step.op!r}")
            if any(arg >= known + number for arg in step.args):
                raise ValueError(f"step {number} ({step.op}) uses a value that comes later")

    def emit(self, acc: tir.Expr, load: Callable[[int], tir.Expr]) -> tir.Expr:
        """Vector code of the last value.

        ``acc`` holds the accumulator's lanes, ``load(i)`` those of operand ``i``, both of the
        same number of lanes (a broadcast where the operand is constant along the lanes).
        Needs an open TIR builder: each value is bound.
        """
        values = self._values(acc, load, self.steps)
        return values[-1] if self.steps else acc

    @property
    def narrowing(self) -> Narrowing | None:
        """How the output gets narrow, where the last step quantizes to bytes."""
        last = self.steps[-1] if self.steps else None
        if last is not None and last.op.startswith("saturate_"):
            zero_point, low, high = last.consts
            return Narrowing(self.dtype, None, int(zero_point), low, high)
        if last is None or not last.op.startswith("quantize_"):
            return None
        scale, zero_point, low, high = last.consts
        return Narrowing(self.dtype, scale, int(zero_point), low, high)

    def emit_codes(self, acc: tir.Expr, load: Callable[[int], tir.Expr]) -> tir.Expr:
        """The last value as int32 codes without zero point, for a packing that adds it and
        saturates to the dtype."""
        narrowing = self.narrowing
        assert narrowing is not None, "only codes of 8 bits are packed"
        values = self._values(acc, load, self.steps[:-1])
        return vector.bind(narrowing.round(values[self.steps[-1].args[0]]))

    def _values(
        self, acc: tir.Expr, load: Callable[[int], tir.Expr], steps: Sequence[Step]
    ) -> list[tir.Expr]:
        values = [vector.bind(acc), *(vector.bind(load(i)) for i in range(len(self.operands)))]
        for step in steps:
            operation = OPERATIONS[step.op]
            value = operation.emit(*(values[a] for a in step.args), *step.consts)
            values.append(vector.bind(value))
        return values

    def evaluate(self, acc: Array, operands: Sequence[Array]) -> Array:
        """The same in numpy: ``acc`` has the output's shape, operands broadcast against it."""
        values: list[Array] = [acc, *operands]
        for step in self.steps:
            operation = OPERATIONS[step.op]
            values.append(operation.evaluate(*(values[a] for a in step.args), *step.consts))
        return np.broadcast_to(values[-1] if self.steps else acc, acc.shape).astype(self.dtype)
