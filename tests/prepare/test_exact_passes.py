"""Passes that make plain what an operator reads and what it divides by."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from hago.prepare.exact_pools import exact_pools
from hago.prepare.fold_constants import fold_constants
from hago.prepare.fold_padding import fold_padding
from hago.prepare.share_weights import share_weights
from hago.prepare.take_slices import take_slices
from tests.onnx_models import normal, run
from tests.relax_modules import assert_becomes, assert_same_meaning, assert_stays, const, module

op = relax.op
SHAPE = (2, 5, 6)
WEIGHT = normal(6, 4)


def take(x: relax.Expr, places: object, axis: int = 1, mode: str = "fast") -> relax.Expr:
    return op.take(x, const(places, "int64"), axis, mode)


TAKES = {
    "a run": (
        lambda emit, x: take(x, [1, 2, 3]),
        lambda emit, x: op.reshape(emit(op.strided_slice(x, [1], [1], [4])), (2, 3, 6)),
    ),
    "a run, clipped": (
        lambda emit, x: take(x, [1, 2, 3], mode="clip"),
        lambda emit, x: op.reshape(emit(op.strided_slice(x, [1], [1], [4])), (2, 3, 6)),
    ),
    "the last": (
        lambda emit, x: take(x, -1),
        lambda emit, x: op.reshape(emit(op.strided_slice(x, [1], [4], [5])), (2, 6)),
    ),
    "from the end": (
        lambda emit, x: take(x, [-1, 0], axis=-1),
        lambda emit, x: take(x, [5, 0], axis=-1),
    ),
}


@pytest.mark.parametrize("case", TAKES)
def test_constant_places_count_from_the_front(case: str) -> None:
    before, expected = (module(body, SHAPE) for body in TAKES[case])
    assert_becomes(take_slices, before, expected)


def test_the_last_is_the_last() -> None:
    value = normal(*SHAPE)
    (found,) = run(take_slices(module(lambda emit, x: take(x, -1), SHAPE)), value)
    assert np.array_equal(found, value[:, -1])


@pytest.mark.parametrize("places", [[0, 2], [7, 8], [-6]])
def test_other_places_stay(places: list[int]) -> None:
    assert_stays(take_slices, module(lambda emit, x: take(x, places), SHAPE))
    assert_stays(take_slices, module(lambda emit, x: take(x, [-1], mode="clip"), SHAPE))


def pool(x: relax.Expr, size: int = 3, counts: bool = True, **attributes: object) -> relax.Expr:
    return op.nn.avg_pool2d(
        x, size, strides=2, ceil_mode=True, count_include_pad=counts, **attributes
    )


def average(value: np.ndarray, size: int, pad: int, counts: bool) -> np.ndarray:
    """[h, w]: the mean of each window with stride 2 over what there is of it: of the padded
    input, or of the input."""
    height, width = value.shape
    padded = np.pad(value, pad)
    inside = np.pad(np.ones_like(value), pad, constant_values=float(counts))
    rows, columns = (-(-(n + 2 * pad - size) // 2) + 1 for n in (height, width))
    found = np.empty((rows, columns), np.float32)
    for i in range(rows):
        for j in range(columns):
            window = np.s_[2 * i : 2 * i + size, 2 * j : 2 * j + size]
            found[i, j] = padded[window].sum() / inside[window].sum()
    return found


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize(("shape", "padding"), [((8, 7), 0), ((8, 8), 1), ((7, 7), 1), ((6, 9), 1)])
def test_a_window_beyond_the_padding_is_divided_by_what_it_covers(shape, padding, counts) -> None:
    value = normal(1, 2, *shape)
    before = module(lambda emit, x: pool(x, counts=counts, padding=padding), value.shape)
    after = fold_padding(exact_pools(before))
    (found,) = run(after, value)
    expected = [average(channel, 3, padding, counts) for channel in value[0]]
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)
    relax.analysis.well_formed(after)


def test_rounding_up_what_is_whole_is_no_rounding() -> None:
    assert_becomes(
        exact_pools,
        module(lambda emit, x: pool(x), (1, 2, 7, 7)),
        module(
            lambda emit, x: op.nn.avg_pool2d(x, 3, strides=2, count_include_pad=True), (1, 2, 7, 7)
        ),
    )


def test_weights_that_a_batch_shares_are_one_matrix() -> None:
    every = np.broadcast_to(WEIGHT, (2, 6, 4))
    before = module(lambda emit, x: op.matmul(x, const(every)), SHAPE)
    assert_becomes(
        share_weights, before, module(lambda emit, x: op.matmul(x, const(WEIGHT)), SHAPE)
    )
    assert_same_meaning(share_weights, before, terms=6)


def test_weights_that_differ_or_make_the_batch_stay() -> None:
    assert_stays(share_weights, module(lambda emit, x: op.matmul(x, const(normal(2, 6, 4))), SHAPE))
    alike = np.broadcast_to(WEIGHT, (2, 6, 4))
    assert_stays(share_weights, module(lambda emit, x: op.matmul(x, const(alike)), (5, 6)))


def test_whatever_does_not_depend_on_inputs_is_folded() -> None:
    """The weights of a batch, and the mask of a causal attention, as torch.export writes them."""

    def weights(emit, x):
        return op.matmul(x, emit(op.broadcast_to(const(WEIGHT), (2, 6, 4))))

    def masked(emit, x):
        full = emit(op.full((5, 6), const(-1.0), "float32"))
        return op.add(x, emit(op.triu(full, 1)))

    mask = np.triu(np.full((5, 6), -1.0, np.float32), 1)
    every = np.broadcast_to(WEIGHT, (2, 6, 4))
    for before, expected in (
        (weights, lambda emit, x: op.matmul(x, const(every))),
        (masked, lambda emit, x: op.add(x, const(mask))),
    ):
        assert_becomes(fold_constants, module(before, SHAPE), module(expected, SHAPE))
