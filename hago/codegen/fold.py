"""Epilogues with fewer instructions and exactly the same codes.

    quantize(clip(x, a, b))  =>  quantize(x) between the codes of a and b
    quantize(relu(x))        =>  quantize(x) from the zero point upwards
    uint8(quantize(x))       =>  quantize_uint8(x)
    float(uint8(quantize(x)))  =>  quantize(x)
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from hago.codegen.epilogue import Epilogue, Step

_NARROW = ("uint8", "int8")


def fold(epilogue: Epilogue) -> Epilogue:
    """``epilogue`` with clips moved into the bounds of quantizations, and those into dtypes.

    Steps keep their numbers; the ones that nothing reads any more become no code.
    """
    known = 1 + len(epilogue.operands)
    steps: list[Step] = []
    for step in epilogue.steps:
        folded = step
        if step.op == "quantize":
            folded = _with_bounds(step, steps, known)
        elif step.op in _NARROW:
            folded = _narrowed(step, steps, known)
        elif step.op == "float":
            folded = _still_real(step, steps, known)
        steps.append(folded)
    return replace(epilogue, steps=tuple(steps))


def _with_bounds(step: Step, steps: list[Step], known: int) -> Step:
    """The quantization ``step`` of what is in front of the clips that it reads."""
    (source,) = step.args
    while source >= known and steps[source - known].op in ("relu", "clip"):
        inner = steps[source - known]
        bounds = inner.consts if inner.op == "clip" else (0.0, math.inf)
        step = Step(step.op, inner.args, _bounded(step.consts, bounds))
        (source,) = step.args
    return step


def _bounded(consts: tuple[float, ...], clip: tuple[float, ...]) -> tuple[float, ...]:
    """``scale, zero point, low, high`` with the codes of the real bounds ``clip``."""
    scale, zero_point, low, high = consts
    reciprocal = np.float32(1.0) / np.float32(scale)
    codes = [float(np.rint(np.float32(real) * reciprocal)) + zero_point for real in clip]
    first, last = (min(max(code, low), high) for code in codes)
    return scale, zero_point, first, last


def _still_real(step: Step, steps: list[Step], known: int) -> Step:
    """Codes that are read as real numbers again need not have been bytes."""
    (source,) = step.args
    inner = steps[source - known] if source >= known else step
    if inner.op not in ("quantize_uint8", "quantize_int8"):
        return step
    return Step("quantize", inner.args, inner.consts)


def _narrowed(step: Step, steps: list[Step], known: int) -> Step:
    """The conversion ``step`` together with the quantization that it reads."""
    (source,) = step.args
    if source < known or steps[source - known].op != "quantize":
        return step
    quantize = steps[source - known]
    return Step(f"quantize_{step.op}", quantize.args, quantize.consts)
