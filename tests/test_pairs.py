"""Weights that are bound to their neighbours."""

import numpy as np
import pytest

from hago.pairs import are_paired, is_overlapping, partners, reach, runs_of, within_pairs

# matrices [K, N] of even and odd height; OHWI with even and odd channels
SHAPES = [(8, 3), (9, 3), (4, 3, 3, 6), (4, 3, 3, 3), (4, 2, 2, 1)]


def random_codes(shape):
    codes = np.random.default_rng(0).integers(-127, 128, shape)
    codes.reshape(-1)[:4] = 127, 127, -127, -127
    return codes.astype(np.int8)


def hold(codes):
    return are_paired(runs_of(codes), is_overlapping(codes))


@pytest.mark.parametrize(("pair", "is_within"), [
    ((127, 1), True), ((127, 2), False), ((64, 64), True), ((-64, -65), False),
    ((-127, -1), True), ((127, -127), True), ((-128, 0), False),
])  # fmt: skip
def test_two_of_one_sign_are_no_larger_than_one_may_be(pair, is_within):
    assert are_paired(np.array([pair], np.int8)) is is_within


def test_a_column_is_paired_from_its_first_row():
    column = np.array([0, 100, 100, 0], np.int8)
    assert hold(column[:, None])
    assert not hold(column[[1, 2, 0, 3]][:, None])


def test_of_odd_channels_both_neighbours_count():
    weight = np.zeros((1, 1, 3, 3), np.int8)
    weight[0, 0].reshape(-1)[[3, 4]] = 100  # a pair where runs have kw * ci, none where ci
    assert not hold(weight)
    weight[0, 0].reshape(-1)[:] = 100, 0, 100, 0, 100, 0, 100, 0, 100
    assert hold(weight)


@pytest.mark.parametrize("shape", SHAPES)
def test_codes_are_made_smaller_where_they_must_be_and_nowhere_else(shape):
    codes = random_codes(shape)
    assert not hold(codes)
    found = within_pairs(codes)
    assert hold(found)
    assert np.array_equal(within_pairs(found), found)
    assert (np.abs(found.astype(int)) <= np.abs(codes.astype(int))).all()
    assert (np.sign(found) * np.sign(codes) >= 0).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_scales_that_cover_the_reach_need_next_to_no_correction(shape):
    weight = np.random.default_rng(1).uniform(-2, 2, shape).astype(np.float32)
    runs_of(weight)[0, 0, :2] = 3
    scale = np.abs(reach(weight)).max() / 127
    codes = np.rint(weight / scale).astype(np.int8)
    assert np.abs(within_pairs(codes) - codes).max() <= 1
    finer = np.clip(np.rint(weight / (0.96 * scale)), -127, 127).astype(np.int8)
    assert np.abs(within_pairs(finer) - finer).max() > 1


@pytest.mark.parametrize("shape", SHAPES)
def test_partners_are_those_that_the_bound_is_about(shape):
    length = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
    bound_to = partners(np.zeros(shape))
    for place in range(length):
        for other in range(length):
            weight = np.zeros((length, 1), np.int8)
            weight[[place, other]] = 100
            own = weight if len(shape) == 2 else weight.reshape(1, *shape[1:])
            assert hold(own) is (other not in bound_to[:, place])
