"""An epilogue under construction: values by handle, operands without repetition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.scheme import Array

# Where a kernel's input comes from: the name of a value of the module, or a constant.
Source = str | Array


@dataclass(frozen=True)
class Value:
    """A value of an :class:`Expression`: 0 is the accumulator, -1, -2.. operands, 1, 2.. steps."""

    handle: int
    dtype: str


# An argument of an elementwise operation: something computed, or a constant.
Term = Value | Array


class Expression:
    """Steps and operands over an accumulator, numbered at the end by :meth:`finish`."""

    def __init__(self, accumulator: str) -> None:
        self.accumulator = Value(0, accumulator)
        self._operands: list[Operand] = []
        self._sources: list[Source] = []
        self._steps: list[Step] = []
        self._known: dict[object, Value] = {}

    def operand(self, source: Source, shape: tuple[int, ...], dtype: str) -> Value:
        """The operand that reads ``source``; the same one for the same source and shape."""
        key = (source if isinstance(source, str) else _content(source), shape)
        if key not in self._known:
            self._operands.append(Operand(shape, dtype))
            self._sources.append(source)
            self._known[key] = Value(-len(self._operands), dtype)
        return self._known[key]

    def step(
        self, op: str, *args: Value, consts: tuple[float, ...] = (), dtype: str = "float32"
    ) -> Value:
        """The result of ``op``; the same value for the same arguments."""
        step = Step(op, tuple(arg.handle for arg in args), consts)
        if step not in self._known:
            self._steps.append(step)
            self._known[step] = Value(len(self._steps), dtype)
        return self._known[step]

    def finish(self, result: Value) -> tuple[Epilogue, tuple[Source, ...]]:
        """The epilogue whose output is ``result``, and where its operands come from.

        Only what ``result`` needs is kept.
        """
        steps = self._needed_steps(result.handle)
        used = {arg for step in steps.values() for arg in step.args} | {result.handle}
        operands = [i for i in range(len(self._operands)) if -1 - i in used]
        numbers = {0: 0, **{-1 - i: 1 + n for n, i in enumerate(operands)}}
        for handle in steps:
            numbers[handle] = len(numbers)
        renumbered = [
            Step(step.op, tuple(numbers[arg] for arg in step.args), step.consts)
            for step in steps.values()
        ]
        if not renumbered and result.handle != 0:
            raise ValueError("an epilogue that only copies an operand")
        epilogue = Epilogue(
            self.accumulator.dtype,
            result.dtype,
            tuple(self._operands[i] for i in operands),
            tuple(renumbered),
        )
        return epilogue, tuple(self._sources[i] for i in operands)

    def _needed_steps(self, handle: int) -> dict[int, Step]:
        """The steps that ``handle`` depends on, in order."""
        needed, pending = set(), [handle]
        while pending:
            current = pending.pop()
            if current > 0 and current not in needed:
                needed.add(current)
                pending.extend(self._steps[current - 1].args)
        return {h: self._steps[h - 1] for h in sorted(needed)}


def _content(constant: Array) -> tuple[str, tuple[int, ...], bytes]:
    return str(constant.dtype), constant.shape, np.ascontiguousarray(constant).tobytes()
