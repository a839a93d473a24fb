"""Requantization on 32 bits gives what the realized module computes in 64."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.workload import Conv2d, Elementwise
from hago.hardware.load import load_spec
from hago.lower.fixed_point import accumulator_range, in_fixed_point
from hago.lower.group import Group, find_groups
from hago.lower.view import view_of
from hago.realize import realize
from hago.realize.fixed_point import fixed_point_multiplier
from tests.graphs import attention, input_for, quantized, residual_network

ARM = load_spec("arm-dotprod")
CHANNELS = 8


def group_of(weight: np.ndarray, bias: np.ndarray, ratio: np.ndarray, zero_point: int) -> Group:
    """A 1x1 convolution of int8 codes with the epilogue that realize writes for it."""
    multiplier, shift = fixed_point_multiplier(ratio)
    half = np.where(shift > 0, 1 << np.maximum(shift - 1, 0), 0)
    constants = [np.asarray(c, np.int64) for c in (
        bias, multiplier, 1 << 30, 31, half, shift, zero_point)]  # fmt: skip
    ops = ["add_int64", "multiply_int64", "add_int64", "shift_right_int64", "add_int64",
           "shift_right_int64", "add_int64"]  # fmt: skip
    first = 1 + len(constants)
    steps = [Step("int64", (0,))]
    steps += [Step(op, (first + i, 1 + i)) for i, op in enumerate(ops)]
    steps.append(Step("clip_int64", (first + len(ops),), (-128.0, 127.0)))
    steps.append(Step("int8", (first + len(ops) + 1,)))
    operands = tuple(Operand(constant.shape, "int64") for constant in constants)
    epilogue = Epilogue("int32", "int8", operands, tuple(steps))
    work = Conv2d(1, 1, 1, 4, CHANNELS, 1, 1, data="int8", weight="int8")
    return Group("conv2d", "codes", work, epilogue, work.output_shape, ("x",), weight,
                 tuple(constants), frozenset({"conv2d"}))  # fmt: skip


def codes(group: Group, accumulator: np.ndarray) -> np.ndarray:
    return group.epilogue.evaluate(accumulator, list(group.operands))


def ops(group: Group) -> set[str]:
    return {step.op for step in group.epilogue.steps}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(-128, 127))
def test_codes_are_those_of_64_bits(seed, zero_point):
    random = np.random.default_rng(seed)
    weight = random.integers(-127, 128, (CHANNELS, 1, 1, 4)).astype(np.int8)
    bias = random.integers(-(2**20), 2**20, CHANNELS)
    ratio = 2.0 ** random.uniform(-40, 0, CHANNELS)
    group = group_of(weight, bias, ratio, zero_point)
    narrow = in_fixed_point(group)
    assert ops(narrow) == {"add_int32", "sqrdmulh", "srshl", "saturate_int8"}
    assert all(operand.dtype == "int32" for operand in narrow.epilogue.operands)
    low, high = accumulator_range(group)
    accumulator = random.integers(low, high + 1, (1, 16, 16, CHANNELS)).astype(np.int32)
    accumulator[0, 0, 0], accumulator[0, 0, 1] = low, high
    assert np.array_equal(codes(narrow, accumulator), codes(group, accumulator))


def test_an_accumulator_stays_in_the_range_of_its_weights():
    weight = np.zeros((CHANNELS, 1, 1, 4), np.int8)
    weight[0, 0, 0] = [1, -2, 3, -4]
    low, high = accumulator_range(group_of(weight, np.zeros(CHANNELS), np.ones(CHANNELS) / 2, 0))
    assert (low[0], high[0]) == (-128 * 4 - 127 * 6, 127 * 4 + 128 * 6)
    assert not low[1:].any()
    assert not high[1:].any()


def test_a_sum_that_may_leave_32_bits_stays_in_64():
    weight = np.full((CHANNELS, 1, 1, 4), 127, np.int8)
    bias = np.zeros(CHANNELS, np.int64)
    bias[3] = 2**31 - 1 - 4 * 127 * 127
    group = group_of(weight, bias, np.full(CHANNELS, 2.0**-24), 0)
    assert "sqrdmulh" in ops(in_fixed_point(group))
    bias[3] += 1
    group = group_of(weight, bias, np.full(CHANNELS, 2.0**-24), 0)
    assert in_fixed_point(group) is group


def test_another_rounding_is_not_taken_for_the_instructions():
    group = group_of(np.ones((CHANNELS, 1, 1, 4), np.int8), np.zeros(CHANNELS),
                     np.full(CHANNELS, 2.0**-9), 0)  # fmt: skip
    constants = list(group.operands)
    constants[2] = constants[2] + 1
    assert in_fixed_point(replace(group, operands=tuple(constants))).operands == tuple(constants)


def test_floats_stay_floats():
    epilogue = Epilogue("int8", "int8", (), (Step("float", (0,)), Step("int8", (1,))))
    group = Group("a", "a", Elementwise((4,), "int8"), epilogue, (4,), ("x",), None, (),
                  frozenset({"a"}))  # fmt: skip
    assert in_fixed_point(group) is group


@pytest.mark.parametrize(
    ("network", "outputs"),
    [
        (residual_network, {"relu", "add_1", "add_3", "conv2d_2", "mean"}),
        (attention, {"query", "key", "value"}),  # what is divided by sums is in float32
    ],
)
def test_nothing_of_a_network_is_left_in_64_bits(network, outputs):
    module = network()
    groups = find_groups(view_of(realize(quantized(module, ARM, input_for(module)))))
    fixed = [group for group in groups if "int64" in ops(group)]
    assert {group.output.removesuffix("_codes") for group in fixed} == outputs
    for group in fixed:
        narrow = in_fixed_point(group)
        assert not any(op.endswith("int64") for op in ops(narrow)), group.output
        assert all(operand.dtype != "int64" for operand in narrow.epilogue.operands)
