"""Passes that recognise one operator in several."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from tvm import relax

from hago.prepare.drop_softmax_guard import drop_softmax_guard
from hago.prepare.fuse_gelu import fuse_gelu
from hago.prepare.fuse_group_norm import fuse_group_norm
from hago.prepare.fuse_layer_norm import fuse_layer_norm
from hago.prepare.fuse_rms_norm import fuse_rms_norm
from hago.prepare.fuse_silu import fuse_silu
from hago.prepare.masks_to_sums import masks_to_sums
from tests.onnx_models import assert_close, normal, operators, run
from tests.relax_modules import assert_becomes, assert_same_meaning, assert_stays, const, module

op = relax.op
SHAPE = (2, 3, 8)


def erf_gate(x: relax.Expr) -> relax.Expr:
    return op.add(op.erf(op.multiply(x, const(math.sqrt(0.5)))), const(1))


def tanh_gate(x: relax.Expr, cube: relax.Expr) -> relax.Expr:
    inner = op.add(x, op.multiply(cube, const(0.044715)))
    return op.add(op.tanh(op.multiply(inner, const(math.sqrt(2 / math.pi)))), const(1))


@pytest.mark.parametrize("order", list(itertools.permutations(("x", "gate", "half"))))
def test_gelu_is_found_in_any_order_of_its_factors(order: tuple[str, ...]) -> None:
    def before(emit, x):
        factors = {"x": x, "gate": emit(erf_gate(x)), "half": const(0.5)}
        first, second, third = (factors[name] for name in order)
        return op.multiply(op.multiply(first, second), third)

    expected = module(lambda emit, x: op.nn.gelu(x), SHAPE)
    assert_becomes(fuse_gelu, module(before, SHAPE), expected)


CUBES = {
    "power": lambda x: op.power(x, const(3)),
    "products": lambda x: op.multiply(x, op.multiply(x, x)),
}


@pytest.mark.parametrize("cube", CUBES)
def test_gelu_by_tanh_is_found(cube: str) -> None:
    def before(emit, x):
        return op.multiply(op.multiply(x, const(0.5)), tanh_gate(x, CUBES[cube](x)))

    expected = module(lambda emit, x: op.nn.gelu_tanh(x), SHAPE)
    assert_becomes(fuse_gelu, module(before, SHAPE), expected)


NO_GELU = {
    "another scale": lambda emit, x: op.multiply(op.multiply(x, const(0.25)), erf_gate(x)),
    "another value": lambda emit, x: op.multiply(op.multiply(op.exp(x), const(0.5)), erf_gate(x)),
    "no one": lambda emit, x: op.multiply(op.multiply(x, const(0.5)), op.erf(x)),
}


@pytest.mark.parametrize("name", NO_GELU)
def test_what_is_no_gelu_stays(name: str) -> None:
    assert_stays(fuse_gelu, module(NO_GELU[name], SHAPE))


def test_silu_is_found_on_either_side() -> None:
    expected = module(lambda emit, x: op.nn.silu(x), SHAPE)
    for before in (
        lambda emit, x: op.multiply(x, op.sigmoid(x)),
        lambda emit, x: op.multiply(op.sigmoid(x), x),
    ):
        assert_becomes(fuse_silu, module(before, SHAPE), expected)
    assert_stays(fuse_silu, module(lambda emit, x, y: op.multiply(x, op.sigmoid(y)), (2,), (2,)))


def centred(emit, x, axes=(-1,)):
    return emit(op.subtract(x, op.mean(x, list(axes), keepdims=True)))


def deviation(c, axes=(-1,)):
    variance = op.mean(op.multiply(c, c), list(axes), keepdims=True)
    return op.add(variance, const(1e-5))


ROOTS = {
    "divided by the root": lambda c: op.divide(c, op.sqrt(deviation(c))),
    "times the reciprocal root": lambda c: op.multiply(c, op.rsqrt(deviation(c))),
    "times one by the root": lambda c: op.multiply(c, op.divide(const(1), op.sqrt(deviation(c)))),
}


@pytest.mark.parametrize("root", ROOTS)
def test_layer_norm_is_found_with_its_parameters(root: str) -> None:
    gamma, beta = normal(8, seed=1), normal(8, seed=2)

    def before(emit, x):
        normalized = ROOTS[root](centred(emit, x))
        return op.add(op.multiply(normalized, const(gamma)), const(beta))

    def expected(emit, x):
        return op.nn.layer_norm(x, const(gamma), const(beta), [-1], float(np.float32(1e-5)))

    assert_becomes(fuse_layer_norm, module(before, SHAPE), module(expected, SHAPE))
    assert_same_meaning(fuse_layer_norm, module(before, SHAPE), terms=16)


def test_layer_norm_over_two_axes_is_found() -> None:
    def before(emit, x):
        c = centred(emit, x, (1, 2))
        return op.divide(c, op.sqrt(deviation(c, (1, 2))))

    def expected(emit, x):
        one, zero = const(np.ones((3, 8))), const(np.zeros((3, 8)))
        return op.nn.layer_norm(x, one, zero, [-2, -1], float(np.float32(1e-5)))

    assert_becomes(fuse_layer_norm, module(before, SHAPE), module(expected, SHAPE))


@pytest.mark.parametrize("root", ROOTS)
def test_rms_norm_is_found_with_its_weight(root: str) -> None:
    gamma, factor = normal(8, seed=1), normal(1, 8, seed=2)

    def before(emit, x):
        return op.multiply(op.multiply(ROOTS[root](x), const(gamma)), const(factor))

    def expected(emit, x):
        return op.nn.rms_norm(x, const(gamma * factor[0]), [-1], float(np.float32(1e-5)))

    assert_becomes(fuse_rms_norm, module(before, SHAPE), module(expected, SHAPE))
    assert_same_meaning(fuse_rms_norm, module(before, SHAPE), terms=16)


NO_RMS_NORM = {
    "of another tensor": lambda emit, x: op.divide(op.exp(x), op.sqrt(deviation(x))),
    "over a middle axis": lambda emit, x: op.divide(x, op.sqrt(deviation(x, (1,)))),
    "no root": lambda emit, x: op.divide(x, deviation(x)),
    "no epsilon": lambda emit, x: op.divide(
        x, op.sqrt(op.mean(op.multiply(x, x), [-1], keepdims=True))
    ),
}


@pytest.mark.parametrize("name", NO_RMS_NORM)
def test_what_is_no_rms_norm_stays(name: str) -> None:
    assert_stays(fuse_rms_norm, module(NO_RMS_NORM[name], SHAPE))


def test_a_factor_of_each_row_stays_behind_an_rms_norm() -> None:
    def body(emit, x):
        return op.multiply(op.nn.rms_norm(x, const(np.ones(8)), [-1]), const(normal(3, 1, seed=1)))

    assert_stays(fuse_rms_norm, module(body, SHAPE))


def over_a_middle_axis(emit, x):
    c = centred(emit, x, (1,))
    return op.divide(c, op.sqrt(deviation(c, (1,))))


def over_different_axes(emit, x):
    c = centred(emit, x, (2,))
    return op.divide(c, op.sqrt(deviation(c, (1, 2))))


def of_another_tensor(emit, x):
    return op.divide(centred(emit, x), op.sqrt(deviation(centred(emit, op.exp(x)))))


@pytest.mark.parametrize("body", [over_a_middle_axis, over_different_axes, of_another_tensor])
def test_what_is_no_layer_norm_stays(body) -> None:
    assert_stays(fuse_layer_norm, module(body, SHAPE))


def test_an_addition_along_another_axis_stays_behind_the_norm() -> None:
    one, zero = const(np.ones(8)), const(np.zeros(8))
    positions = const(normal(3, 8))
    assert_stays(
        fuse_layer_norm,
        module(lambda emit, x: op.add(op.nn.layer_norm(x, one, zero, [-1]), positions), SHAPE),
    )


def test_a_norm_that_is_used_twice_keeps_its_parameters() -> None:
    def body(emit, x):
        norm = emit(op.nn.layer_norm(x, const(np.ones(8)), const(np.zeros(8)), [-1]))
        return op.add(op.multiply(norm, const(range(8))), norm)

    assert_stays(fuse_layer_norm, module(body, SHAPE))


def guarded_softmax(emit, scores: relax.Expr) -> relax.Expr:
    """What PyTorch makes of a softmax: zeros where a row has no finite score."""
    finite = emit(op.logical_not(emit(op.equal(scores, const(-np.inf)))))
    some = emit(op.max(emit(op.astype(finite, "int8")), axis=-1, keepdims=True))
    none = emit(op.logical_not(emit(op.astype(some, "bool"))))
    softmax = emit(op.nn.softmax(scores))
    return op.where(none, emit(op.full_like(softmax, const(0.0))), softmax)


def test_a_softmax_of_products_needs_no_guard() -> None:
    def scores(emit, x, y):
        return emit(op.multiply(emit(op.matmul(x, y)), const(0.5)))

    before = module(lambda emit, x, y: guarded_softmax(emit, scores(emit, x, y)), (2, 3), (3, 4))
    expected = module(lambda emit, x, y: op.nn.softmax(scores(emit, x, y)), (2, 3), (3, 4))
    assert_becomes(drop_softmax_guard, before, expected)


LOW = -np.inf
MASKS = {
    "of some scores of each row": ([[0.0, LOW, LOW], [0.0, 0.0, LOW]], False),
    "of all scores of a row": ([[0.0, LOW, LOW], [LOW] * 3], True),
    "that is no number somewhere": ([[0.0, LOW, LOW], [0.0, 0.0, np.nan]], True),
    "of whole rows": ([[0.0], [LOW]], True),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_softmax_keeps_its_guard_where_a_row_may_have_no_score(name: str) -> None:
    mask, is_needed = MASKS[name]

    def scores(emit, x, y):
        return emit(op.add(emit(op.matmul(x, y)), const(mask)))

    before = module(lambda emit, x, y: guarded_softmax(emit, scores(emit, x, y)), (2, 4), (4, 3))
    bare = module(lambda emit, x, y: op.nn.softmax(scores(emit, x, y)), (2, 4), (4, 3))
    assert_becomes(drop_softmax_guard, before, before if is_needed else bare)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_guard_by_a_mask_that_is_an_input_comes_behind_the_product(rows: int) -> None:
    def before(emit, x, y, mask, value):
        scores = emit(op.add(emit(op.matmul(x, y)), mask))
        return op.matmul(emit(guarded_softmax(emit, scores)), value)

    shapes = (2, 4), (4, 3), (rows, 3), (3, 5)
    after = drop_softmax_guard(module(before, *shapes))
    assert "where" not in operators(after)
    assert operators(after)[-1] == "multiply"
    inputs = [normal(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    for hidden in ([], [1], [0, 1, 2]):
        inputs[2][0] = 0
        inputs[2][0, hidden] = -np.inf
        (expected,) = run(module(before, *shapes), *inputs)
        (found,) = run(after, *inputs)
        assert np.isfinite(found).all()
        assert_close(found, expected, terms=8)


def test_a_softmax_of_an_input_keeps_its_guard() -> None:
    assert_stays(drop_softmax_guard, module(guarded_softmax, (2, 3)))


LATER = np.triu(np.ones((3, 3), bool), 1)
SUMMED = const(np.where(LATER, LOW, 0))


def hidden(emit, x, y, low: float = LOW, mask: np.ndarray = LATER) -> relax.Expr:
    scores = emit(op.multiply(emit(op.matmul(x, y)), const(0.5)))
    return emit(op.where(const(mask, "bool"), const(low), scores))


def test_a_mask_of_minus_infinity_becomes_a_sum() -> None:
    def expected(emit, x, y):
        return op.add(emit(op.multiply(emit(op.matmul(x, y)), const(0.5))), SUMMED)

    after = module(expected, (3, 4), (4, 3))
    assert_becomes(masks_to_sums, module(hidden, (3, 4), (4, 3)), after)


def test_shares_of_masked_scores_stay_the_same() -> None:
    def before(emit, x, y):
        return op.nn.softmax(hidden(emit, x, y))

    assert_same_meaning(masks_to_sums, module(before, (3, 4), (4, 3)), terms=4)


def test_the_other_branch_of_a_mask_may_have_the_number() -> None:
    def before(emit, x, y):
        return op.where(const(~LATER, "bool"), emit(op.matmul(x, y)), const(LOW))

    expected = module(lambda emit, x, y: op.add(emit(op.matmul(x, y)), SUMMED), (3, 4), (4, 3))
    assert_becomes(masks_to_sums, module(before, (3, 4), (4, 3)), expected)


def test_a_mask_of_a_large_number_becomes_a_sum_in_front_of_a_softmax() -> None:
    def before(emit, x, y):
        return op.nn.softmax(hidden(emit, x, y, np.finfo(np.float32).min))

    def expected(emit, x, y):
        scores = emit(op.multiply(emit(op.matmul(x, y)), const(0.5)))
        return op.nn.softmax(emit(op.add(scores, SUMMED)))

    after = module(expected, (3, 4), (4, 3))
    assert_becomes(masks_to_sums, module(before, (3, 4), (4, 3)), after)
    assert_same_meaning(masks_to_sums, module(before, (3, 4), (4, 3)), terms=4)


ROW = np.array([[False] * 3, [True] * 3, [False] * 3])
KEPT = {
    "of an input": lambda emit, x: emit(op.where(const(LATER, "bool"), const(LOW), x)),
    "of no softmax": lambda emit, x: hidden(emit, x, x, -3e38),
    "of a small number": lambda emit, x: op.nn.softmax(hidden(emit, x, x, -100.0)),
    "of a whole row": lambda emit, x: op.nn.softmax(hidden(emit, x, x, -3e38, ROW)),
    "of another axis": lambda emit, x: op.nn.softmax(hidden(emit, x, x, -3e38), axis=0),
    "of infinite scores": lambda emit, x: op.where(
        const(LATER, "bool"), const(LOW), emit(op.add(emit(op.matmul(x, x)), const(np.inf)))
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_a_mask_stays_where_a_sum_may_differ(name: str) -> None:
    assert_stays(masks_to_sums, module(KEPT[name], (3, 3)))


MAP = (2, 6, 4, 3)
GROUPS = {"one": 1, "some": 3, "one a channel": 6}


def group_norm(x, gamma, beta, groups):
    return op.nn.group_norm(x, const(gamma), const(beta), groups, 1, [2, 3], 0.25)


def by_rows(emit, x, groups):
    """What PyTorch writes where ONNX has no such operator."""
    rows = emit(op.reshape(x, (2, groups, 72 // groups)))
    one, zero = const(np.ones(groups)), const(np.zeros(groups))
    normal = emit(op.nn.instance_norm(rows, one, zero, 1, [2], 0.25))
    return emit(op.reshape(normal, MAP))


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_a_group_norm_is_found_with_its_parameters(groups: int) -> None:
    gamma, beta = normal(6, seed=1), normal(6, seed=2)

    def before(emit, x):
        scaled = op.multiply(by_rows(emit, x, groups), const(gamma.reshape(6, 1, 1)))
        return op.add(emit(scaled), const(beta.reshape(1, 6, 1, 1)))

    expected = module(lambda emit, x: group_norm(x, gamma, beta, groups), MAP)
    assert_becomes(fuse_group_norm, module(before, MAP), expected)
    assert_same_meaning(fuse_group_norm, module(before, MAP), terms=72)


def test_an_instance_norm_is_a_group_norm_of_single_channels() -> None:
    gamma, beta = normal(6, seed=1), normal(6, seed=2)

    def before(emit, x):
        return op.nn.instance_norm(x, const(gamma), const(beta), 1, [2, 3], 0.25)

    expected = module(lambda emit, x: group_norm(x, gamma, beta, 6), MAP)
    assert_becomes(fuse_group_norm, module(before, MAP), expected)
    assert_same_meaning(fuse_group_norm, module(before, MAP), terms=12)


def to_other_images(emit, x):
    return op.reshape(op.reshape(by_rows(emit, x, 3), (2, 3, 24)), (2, 3, 2, 12))


def rows_across_samples(emit, x):
    normal = op.nn.group_norm(
        emit(op.reshape(x, (1, 6, 24))), const(np.ones(6)), const(np.zeros(6)), 6, 1, [2]
    )
    return op.reshape(emit(normal), MAP)


def times_a_map(emit, x):
    norm = emit(group_norm(x, np.ones(6), np.zeros(6), 3))
    return op.multiply(norm, const(normal(4, 3)))


def read_twice(emit, x):
    norm = emit(group_norm(x, np.ones(6), np.zeros(6), 3))
    return op.add(emit(op.add(norm, const(2))), norm)


def over_one_axis(emit, x):
    return op.add(
        emit(op.nn.instance_norm(x, const(np.ones(6)), const(np.zeros(6)), 1, [3])), const(2)
    )


@pytest.mark.parametrize("body", [rows_across_samples, times_a_map, read_twice, over_one_axis])
def test_what_is_not_in_parameters_of_a_group_norm_stays(body) -> None:
    assert_stays(fuse_group_norm, module(body, MAP))


def test_a_group_norm_of_another_image_keeps_its_reshapes() -> None:
    before = module(to_other_images, MAP)
    assert_same_meaning(fuse_group_norm, before, terms=72)
