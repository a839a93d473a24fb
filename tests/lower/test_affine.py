"""Merged epilogues have fewer steps and the same value."""

import numpy as np
import pytest
from hypothesis import given, settings

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.fold import fold
from hago.lower.affine import merge_affine
from tests.codegen.judge import assert_equal
from tests.codegen.recipes import recipes

SHAPE = (3, 5, 7)


def accumulators(random):
    return random.integers(-40_000, 40_000, SHAPE).astype(np.int32)


@settings(max_examples=200, deadline=None)
@given(recipe=recipes())
def test_a_merged_epilogue_has_the_same_value(recipe):
    random = np.random.default_rng(0)
    accumulator = accumulators(random)
    epilogue, operands = recipe.build(accumulator, random)
    # The residual is a tensor of the model, everything else a constant.
    sources = ["tensor" if a.shape == SHAPE else a for a in operands]
    merged, kept = merge_affine(fold(epilogue), sources)
    values = [next(a for a in operands if a.shape == SHAPE) if isinstance(s, str) else s
              for s in kept]  # fmt: skip
    assert_equal(merged.evaluate(accumulator, values), epilogue, accumulator, operands)


@settings(max_examples=100, deadline=None)
@given(recipe=recipes())
def test_merging_what_is_merged_adds_no_step(recipe):
    random = np.random.default_rng(0)
    epilogue, operands = recipe.build(accumulators(random), random)
    once = merge_affine(fold(epilogue), operands)
    twice = merge_affine(*once)
    assert len(twice[0].steps) <= len(once[0].steps)


def ops(epilogue):
    return [step.op for step in epilogue.steps]


def chain(*ops, operands=(), dtype="float32"):
    """Each step takes the last value, and the next operand where it takes two."""
    numbers, steps = iter(range(1, 1 + len(operands))), []
    for count, (op, consts) in enumerate(ops):
        last = len(operands) + count if count else 0
        takes_two = op in ("add", "subtract", "multiply", "divide", "add_int32")
        steps.append(Step(op, (last, next(numbers)) if takes_two else (last,), consts))
    return Epilogue("int32", dtype, tuple(Operand(o.shape, str(o.dtype)) for o in operands),
                    tuple(steps))  # fmt: skip


def test_a_requantization_is_one_multiplication_and_one_addition():
    correction = np.arange(4, dtype=np.int32)
    scale, bias = (np.arange(1, 5, dtype=np.float32) for _ in range(2))
    epilogue = chain(
        ("add_int32", ()), ("float", ()), ("multiply", ()), ("add", ()), ("relu", ()),
        ("quantize", (0.5, 0.0, 0.0, 255.0)), ("uint8", ()),
        operands=(correction, scale, bias), dtype="uint8",
    )  # fmt: skip
    merged, kept = merge_affine(fold(epilogue), (correction, scale, bias))
    assert ops(merged) == ["float", "multiply", "add", "quantize_uint8"]
    assert np.array_equal(kept[0], scale * 2)
    assert np.array_equal(kept[1], (correction * scale + bias) * 2)


def test_constants_are_operands_so_that_layers_share_a_kernel():
    first, second = (
        merge_affine(chain(("float", ()), ("multiply_const", (factor,))), ())[0]
        for factor in (0.25, 0.75)
    )
    assert first == second


def test_a_product_of_constants_that_would_grow_stays_two_steps():
    rows, columns = np.ones((4, 1), np.float32) * 2, np.ones((1, 5), np.float32) * 3
    epilogue = chain(("float", ()), ("multiply", ()), ("multiply", ()), operands=(rows, columns))
    merged, kept = merge_affine(epilogue, (rows, columns))
    assert ops(merged) == ["float", "multiply", "multiply"]
    assert {array.shape for array in kept} == {(4, 1), (1, 5)}


def test_the_output_of_another_tensor_is_no_constant():
    epilogue = chain(("float", ()), ("multiply", ()), operands=(np.ones(SHAPE, np.float32),))
    assert merge_affine(epilogue, ("other",)) == (epilogue, ("other",))


@pytest.mark.parametrize("op", ["gelu", "silu", "exp", "relu"])
def test_what_is_not_affine_gets_its_argument_unscaled(op):
    bias = np.ones(7, np.float32)
    epilogue = chain(("float", ()), ("add", ()), (op, ()), operands=(bias,))
    assert ops(merge_affine(epilogue, (bias,))[0]) == ["float", "add", op]
