"""Folded epilogues have fewer steps and exactly the same codes."""

import numpy as np
import pytest
from hypothesis import given, settings

from hago.codegen.epilogue import Epilogue, Step
from hago.codegen.fold import fold
from tests.codegen.recipes import recipes

REALS = np.linspace(-9, 9, 1801, dtype=np.float32)


def quantizing(*ops, dtype="uint8", consts=(0.05, 100.0, 0.0, 255.0), after=()):
    """``ops`` in a row, a quantization to ``dtype``, and what comes ``after``."""
    chain = [*ops, ("quantize", consts), (dtype, ()), *after]
    steps = tuple(Step(op, (number,), consts) for number, (op, consts) in enumerate(chain))
    return Epilogue("float32", "float32" if after else dtype, (), steps)


def live(epilogue):
    """The operations that the last value needs."""
    known, needed, pending = 1 + len(epilogue.operands), [], [len(epilogue.steps)]
    while pending:
        number = pending.pop()
        if number >= known:
            step = epilogue.steps[number - known]
            needed.append(step.op)
            pending.extend(step.args)
    return needed[::-1]


@pytest.mark.parametrize(
    "ops", [[("relu", ())], [("clip", (0.0, 6.0))], [("relu", ()), ("clip", (-1.0, 3.0))],
            [("clip", (-100.0, 100.0))]],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_bounds_move_into_the_quantization(ops, dtype):
    low, high = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    epilogue = quantizing(*ops, dtype=dtype, consts=(0.05, 7.0, low, high))
    folded = fold(epilogue)
    assert live(folded) == [f"quantize_{dtype}"]
    np.testing.assert_array_equal(folded.evaluate(REALS, []), epilogue.evaluate(REALS, []))


def test_codes_that_are_read_as_numbers_again_are_not_narrowed():
    epilogue = quantizing(("relu", ()), after=[("float", ()), ("multiply_const", (0.05,))])
    folded = fold(epilogue)
    assert live(folded) == ["quantize", "multiply_const"]
    np.testing.assert_array_equal(folded.evaluate(REALS, []), epilogue.evaluate(REALS, []))


def test_a_clip_that_others_read_stays():
    steps = (
        Step("relu", (0,)), Step("quantize", (1,), (0.1, 0.0, 0.0, 255.0)),
        Step("uint8", (2,)), Step("float", (3,)), Step("add", (1, 4)),
    )  # fmt: skip
    epilogue = Epilogue("float32", "float32", (), steps)
    folded = fold(epilogue)
    assert folded.steps[0] == steps[0]
    np.testing.assert_array_equal(folded.evaluate(REALS, []), epilogue.evaluate(REALS, []))


@settings(max_examples=200, deadline=None)
@given(recipe=recipes())
def test_any_folded_epilogue_has_the_same_codes(recipe):
    random = np.random.default_rng(0)
    accumulator = random.integers(-30_000, 30_000, (4, 9)).astype(np.int32)
    epilogue, operands = recipe.build(accumulator, random)
    expected = epilogue.evaluate(accumulator, operands)
    np.testing.assert_array_equal(fold(epilogue).evaluate(accumulator, operands), expected)


@settings(max_examples=50, deadline=None)
@given(recipe=recipes())
def test_folding_twice_is_folding_once(recipe):
    random = np.random.default_rng(0)
    epilogue, _ = recipe.build(np.ones((2, 3), np.int32), random)
    assert fold(fold(epilogue)) == fold(epilogue)
