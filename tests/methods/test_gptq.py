"""GPTQ: what one column's rounding breaks, later columns mend."""

import numpy as np
import pytest

from hago.annotate.constants import constant_edges
from hago.methods.gptq import Gptq, inverse_factor, round_columns
from tests.graphs import attention
from tests.methods.narrowed import bottleneck, fidelity, narrowed, nearest_fidelity, stats_of

pytest.importorskip("torch")

RANDOM = np.random.default_rng(2)
RANGE = (-8, 7)


def rounded(weight, hessian):
    ones = np.ones_like(weight)
    return round_columns(weight, ones, 0 * ones, inverse_factor(hessian, 0.01), RANGE)


def test_with_independent_inputs_of_equal_power_it_rounds_to_nearest():
    weight = RANDOM.normal(0, 3, (2, 5, 300))
    codes = rounded(weight, np.broadcast_to(np.eye(300), (2, 300, 300)))
    np.testing.assert_array_equal(codes, np.clip(np.rint(weight), *RANGE))


def test_of_two_equal_inputs_only_the_sum_of_the_weights_counts():
    codes = rounded(np.array([[[0.4, 0.4]]]), np.ones((1, 2, 2)))
    assert codes.sum() == 1


@pytest.mark.parametrize("width", [40, 200])
def test_the_error_of_the_output_falls_on_correlated_inputs(width):
    inputs = RANDOM.normal(size=(500, 8)) @ RANDOM.normal(size=(8, width))
    inputs += 0.1 * RANDOM.normal(size=inputs.shape)
    weight = RANDOM.normal(0, 2, (1, 6, width))
    hessian = (inputs.T @ inputs)[None]

    def error(codes):
        return np.square(inputs @ (codes - weight)[0].T).sum()

    assert error(rounded(weight, hessian)) < error(np.clip(np.rint(weight), *RANGE)) / 4


def test_inputs_that_are_always_zero_leave_their_weights_at_the_nearest_code():
    codes = rounded(np.array([[[0.4, 2.6]]]), np.zeros((1, 2, 2)))
    assert codes.tolist() == [[[0, 3]]]


@pytest.mark.parametrize("build", [bottleneck, attention])
def test_outputs_are_nearer_to_the_float_model_than_by_rounding_to_nearest(build):
    module = build()
    found = Gptq().apply(narrowed(module, 3), stats_of(module))
    assert fidelity(found) > nearest_fidelity(build, 3)


def test_groups_of_a_column_keep_their_own_scales():
    module = attention()
    model = narrowed(module, 3, group=4)
    found = Gptq().apply(model, stats_of(module))
    assert {model.quants[edge].scale.shape for edge in constant_edges(model.graph)} == {(2, 8)}
    assert fidelity(found) > fidelity(model)
