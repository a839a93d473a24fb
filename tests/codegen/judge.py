"""What a kernel gave, judged by its numpy meaning: integers exactly, the rest by a bound."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hago.codegen.epilogue import Epilogue
from hago.float8 import FORMATS, KINDS, decode_float8, round_float8

_EPS = float(np.finfo(np.float32).eps)
# Absolute errors that hago/codegen/vector.py states for its polynomials, or a bound of them on
# the ranges used here (|x| < 100).
_POLYNOMIAL = {
    "erf": 1e-6, "gelu": 1e-4, "gelu_tanh": 1e-4, "silu": 1e-4, "sigmoid": 1e-6, "tanh": 1e-6,
    "exp": 1e-5,
}  # fmt: skip


def assert_equal(
    actual: np.ndarray, epilogue: Epilogue, accumulator: np.ndarray, operands: Sequence[np.ndarray],
    slack: float = 0.0,
) -> None:
    """``actual`` is ``epilogue`` of ``accumulator``.

    Without rounding in between the results are the same; a code is at most half a step (and the
    rounding errors of the float32 steps in front of it) away from the real number it stands for.
    ``slack`` is the error of a float accumulator.
    """
    assert actual.dtype == np.dtype(epilogue.dtype)
    if not epilogue.steps and epilogue.dtype != "float32":
        assert np.array_equal(actual, accumulator)
        return
    real, magnitude = _in_float64(_without_rounding(epilogue), accumulator, operands)
    error = _bound(epilogue, magnitude, slack)
    if epilogue.dtype == "float32":
        assert np.all(np.abs(actual - real) <= error)
        return
    if epilogue.dtype in KINDS:
        _assert_nearest(actual, real, error)
        return
    scale, zero_point, low, high = epilogue.steps[-2].consts
    code = np.clip(real / scale + zero_point, low, high)
    assert np.all(np.abs(actual - code) <= 0.5 + error / scale)


def _assert_nearest(actual: np.ndarray, real: np.ndarray, error: float) -> None:
    """``actual`` are the nearest 8-bit floats to numbers within ``error`` of ``real``: of the
    distances to both, each is off by that much."""
    kind = KINDS[str(actual.dtype)]
    bounded = np.clip(real, -FORMATS[kind].largest, FORMATS[kind].largest)
    least = np.abs(round_float8(bounded, kind) - bounded)
    found = decode_float8(actual.view(np.uint8), kind)
    assert np.all(np.abs(found - bounded) <= least + 2 * error)


def _without_rounding(epilogue: Epilogue) -> Epilogue:
    if epilogue.dtype == "float32":
        return epilogue
    if epilogue.dtype in KINDS:
        return replace(epilogue, dtype="float32", steps=epilogue.steps[:-1])
    assert epilogue.steps[-2].op == "quantize"
    return replace(epilogue, dtype="float32", steps=epilogue.steps[:-2])


def _in_float64(
    epilogue: Epilogue, accumulator: np.ndarray, operands: Sequence[np.ndarray]
) -> tuple[np.ndarray, float]:
    """The value that the last step has, and the largest magnitude on the way to it."""
    largest = 1.0
    for count in range(len(epilogue.steps) + 1):
        prefix = replace(epilogue, dtype="float64", steps=epilogue.steps[:count])
        value = prefix.evaluate(accumulator, operands)
        largest = max(largest, float(np.abs(value).max()) if count else 1.0)
    return value.astype(np.float64), largest


def _bound(epilogue: Epilogue, magnitude: float, slack: float) -> float:
    """Each step rounds by eps/2 of the largest value, here and in numpy; twice that for a fused
    form whose terms are rounded in another order."""
    polynomial = sum(_POLYNOMIAL.get(step.op, 0.0) for step in epilogue.steps)
    return 2 * _EPS * magnitude * (len(epilogue.steps) + 1) + polynomial + slack
