"""obc: each rounded weight makes up for the errors of those before it."""

import numpy as np

from hago.methods.obc import Obc, round_rows
from tests.methods.dense import WEIGHT, quantized, stats_of

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


def test_codes_stay_within_their_bounds():
    rows = np.array([[[5.4, 5.4]]])
    bounds = np.full((1, 1), -4), np.full((1, 1), 3)
    codes = round_rows(rows, moments_of(np.ones((8, 2))), 0.01, *bounds)
    assert codes.tolist() == [[[3.0, 3.0]]]


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
    known = stats_of(rows, moments={"matmul": moments_of(rows)})
    model = Obc().apply(quantized(known, weight), known)
    quant = model.quants[WEIGHT]
    ours, nearest = (
        np.square(rows @ (quant.decode(codes) - weight)).mean()
        for codes in (model.weights[WEIGHT], quant.encode(weight.astype(np.float32)))
    )
    assert ours < nearest


def test_weights_of_unknown_moments_are_left_to_be_rounded():
    stats = stats_of([1.0, 2.0])
    assert not Obc().apply(quantized(stats), stats).weights
