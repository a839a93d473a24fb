"""obc: each rounded weight makes up for the errors of those before it."""

from dataclasses import replace

import numpy as np

from hago.annotate.constants import constant_edges
from hago.hardware.load import load_spec
from hago.methods.obc import Obc, round_floats, round_rows, round_weights
from hago.pairs import are_paired, runs_of
from hago.scheme import INT8_PAIRS
from tests.graphs import attention
from tests.methods.dense import WEIGHT, quantized, row_moments, stats_of
from tests.methods.narrowed import narrowed

WIDE = np.full((1, 1), -127), np.full((1, 1), 127)


def moments_of(rows):
    return (rows.T @ rows / len(rows)).astype(np.float32)[np.newaxis]


def test_two_equal_inputs_share_one_rounding_error():
    # Both inputs are the same number: only the sum of the weights counts, and 0.4 + 0.4 is
    # nearest to 1, where rounding each of them gives 0.
    moments = moments_of(np.ones((8, 2)))
    codes = round_rows(np.array([[[0.4, 0.4]]]), moments, 0.01, *WIDE)
    assert codes.sum() == 1.0


def test_independent_inputs_are_rounded_to_nearest():
    rows = np.array([[[0.4, 2.6, -1.2]]])
    assert round_rows(rows, np.eye(3)[np.newaxis], 0.0, *WIDE).tolist() == [[[0.0, 3.0, -1.0]]]


def test_two_equal_inputs_share_the_rounding_error_of_a_float():
    # Next to 1 the codes of e4m3 are 1/8 apart: 2.1 is nearest to 1 and 1 1/8, where rounding each
    # gives 2.
    codes = round_floats(np.full((1, 1, 2), 1.05), moments_of(np.ones((8, 2))), 0.01, "float8_e4m3")
    assert sorted(codes[0, 0].tolist()) == [1.0, 1.125]


def test_independent_inputs_are_rounded_to_the_nearest_floats():
    rows = np.array([[[0.4, -17.2, 500.0]]])
    codes = round_floats(rows, np.eye(3)[np.newaxis], 0.0, "float8_e4m3")
    assert codes.tolist() == [[[0.40625, -18.0, 448.0]]]


def test_codes_stay_within_their_bounds():
    rows = np.array([[[5.4, 5.4]]])
    bounds = np.full((1, 1), -4), np.full((1, 1), 3)
    codes = round_rows(rows, moments_of(np.ones((8, 2))), 0.01, *bounds)
    assert codes.tolist() == [[[3.0, 3.0]]]


def test_paired_weights_are_within_their_bound_and_make_up_for_it():
    weight = np.random.default_rng(4).normal(size=(32, 5)).astype(np.float32)
    rows = np.random.default_rng(5).normal(size=(64, 32)) + 5
    known = stats_of(rows, moments={"matmul": row_moments(rows)})
    model = quantized(known, weight, load_spec("x86-avx2"))
    quant = model.quants[WEIGHT]
    assert quant.scheme.dtype == INT8_PAIRS
    fine = replace(quant, scale=quant.scale * np.float32(0.7))  # by which not all pairs fit
    codes = Obc().apply(model.with_quants({WEIGHT: fine}), known).weights[WEIGHT]
    assert are_paired(runs_of(codes))
    nearest = fine.encode(weight)
    assert not np.array_equal(nearest, np.rint(weight / fine.scale))
    ours, theirs = (
        np.square(rows @ (fine.decode(each) - weight)).mean() for each in (codes, nearest)
    )
    assert ours < theirs


def test_the_error_of_the_output_is_smaller_than_by_rounding_to_nearest():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(400, 24)) @ random.normal(size=(24, 24))
    weights = random.normal(scale=3, size=(1, 16, 24))
    bounds = np.full((1, 16), -127), np.full((1, 16), 127)
    codes = round_rows(weights, moments_of(inputs), 0.01, *bounds)
    ours, nearest = (
        np.square(inputs @ (weights - c)[0].T).mean() for c in (codes, np.rint(weights))
    )
    assert ours < nearest


def test_blocks_of_inputs_make_no_difference():
    random = np.random.default_rng(1)
    inputs = random.normal(size=(600, 200)) + random.normal(size=(600, 1))
    weights = random.normal(scale=3, size=(1, 2, 200))
    bounds = np.full((1, 2), -127), np.full((1, 2), 127)
    # 200 inputs are two blocks; one input after the other, written out, is the definition.
    order = np.argsort(-np.diag(moments_of(inputs)[0]), kind="stable")
    hessian = moments_of(inputs)[0].astype(np.float64)[np.ix_(order, order)]
    hessian += 0.01 * np.diag(hessian).mean() * np.eye(200)
    upper = np.linalg.cholesky(np.linalg.inv(hessian)).T
    rest, expected = weights[0][:, order].copy(), np.empty((2, 200))
    for k in range(200):
        expected[:, order[k]] = np.rint(rest[:, k])
        error = (rest[:, k] - np.rint(rest[:, k])) / upper[k, k]
        rest[:, k:] -= error[:, None] * upper[k, k:]
    assert np.array_equal(round_rows(weights, moments_of(inputs), 0.01, *bounds)[0], expected)


def test_codes_are_chosen_for_weights_whose_moments_are_known():
    weight = np.random.default_rng(2).normal(size=(16, 3))
    rows = np.random.default_rng(3).normal(size=(64, 16)) + 5
    known = stats_of(rows, moments={"matmul": row_moments(rows)})
    model = Obc().apply(quantized(known, weight), known)
    quant = model.quants[WEIGHT]
    ours, nearest = (
        np.square(rows @ (quant.decode(codes) - weight)).mean()
        for codes in (model.weights[WEIGHT], quant.encode(weight.astype(np.float32)))
    )
    assert ours < nearest


def test_codes_of_8_bit_floats_are_chosen_as_well():
    random = np.random.default_rng(6)
    weight = random.normal(size=(64, 3)).astype(np.float32)
    rows = random.normal(size=(256, 64)) @ random.normal(size=(64, 64)) + 5
    known = stats_of(rows, moments={"matmul": row_moments(rows)})
    model = quantized(known, weight, load_spec("gaudi-fp8"))
    model = Obc().apply(model, known)
    quant = model.quants[WEIGHT]
    assert quant.scheme.dtype.kind == "float8_e4m3"
    ours, nearest = (
        np.square(rows @ (quant.decode(codes) - weight)).mean()
        for codes in (model.weights[WEIGHT], quant.encode(weight))
    )
    assert ours < nearest / 2


def test_weights_of_unknown_moments_are_left_to_be_rounded():
    stats = stats_of([1.0, 2.0])
    assert not Obc().apply(quantized(stats), stats).weights


def test_inputs_that_are_always_zero_leave_their_weights_at_the_nearest_code():
    rows = np.array([[[0.4, 2.6]]])
    assert round_rows(rows, np.zeros((1, 2, 2)), 0.01, *WIDE).tolist() == [[[0.0, 3.0]]]


def test_steps_of_their_own_are_those_of_the_definition():
    random = np.random.default_rng(4)
    hessian = moments_of(random.normal(size=(400, 150)) + random.normal(size=(400, 1)))
    weight = random.normal(size=(1, 3, 150))
    scale = np.repeat(random.uniform(0.1, 0.4, (1, 3, 5)), 30, axis=2)
    order = np.argsort(-np.diag(hessian[0]), kind="stable")
    damped = hessian[0].astype(np.float64) + 0.01 * np.diag(hessian[0]).mean() * np.eye(150)
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    rest, expected = weight[0][:, order].copy(), np.empty((3, 150))
    for k, column in enumerate(order):
        expected[:, column] = np.clip(np.rint(rest[:, k] / scale[0, :, column]) + 1, -8, 7)
        left = rest[:, k] - (expected[:, column] - 1) * scale[0, :, column]
        rest[:, k:] -= left[:, None] / upper[k, k] * upper[k, k:]
    codes = round_weights(weight, scale, np.ones_like(scale), hessian, 0.01, (-8, 7))
    assert np.array_equal(codes[0], expected)


def test_groups_of_inputs_keep_their_own_scales():
    model = narrowed(attention(), 3, group=4)
    random = np.random.default_rng(5)
    rows = random.normal(size=(64, 3)) @ random.normal(size=(3, 8))
    edges = constant_edges(model.graph)
    known = stats_of([1.0], moments={edge.dst: row_moments(rows) for edge in edges})
    found = Obc().apply(model, known)
    for edge, weight in edges.items():
        quant = model.quants[edge]
        assert quant.scale.shape == (2, 8)
        ours, nearest = (
            np.square(rows @ (quant.decode(codes) - weight)).mean()
            for codes in (found.weights[edge], quant.encode(weight))
        )
        assert ours < nearest
