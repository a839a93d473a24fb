"""Passes that give one spelling to arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tvm import relax

from hago.prepare.decompose_batch_norm import decompose_batch_norm
from hago.prepare.fold_constants import fold_constants
from hago.prepare.merge_equal_calls import merge_equal_calls
from hago.prepare.remove_identities import remove_identities
from hago.prepare.simplify_arithmetic import simplify_arithmetic
from hago.prepare.split_to_slices import split_to_slices
from tests.onnx_models import normal
from tests.relax_modules import assert_becomes, assert_same_meaning, assert_stays, const, module

op = relax.op
VECTOR = np.array([1.0, -2.0, 4.0], np.float32)

ARITHMETIC = {
    "a constant comes last": (
        lambda emit, x: op.add(const(VECTOR), x),
        lambda emit, x: op.add(x, const(VECTOR)),
    ),
    "subtraction is addition": (
        lambda emit, x: op.subtract(x, const(VECTOR)),
        lambda emit, x: op.add(x, const(-VECTOR)),
    ),
    "division is multiplication": (
        lambda emit, x: op.divide(x, const(VECTOR)),
        lambda emit, x: op.multiply(x, const(1 / VECTOR)),
    ),
    "a square is a product": (
        lambda emit, x: op.power(x, const(2)),
        lambda emit, x: op.multiply(x, x),
    ),
    "power one half is a root": (
        lambda emit, x: op.power(x, const(0.5)),
        lambda emit, x: op.sqrt(x),
    ),
    "not below zero is relu": (
        lambda emit, x: op.maximum(x, const([0])),
        lambda emit, x: op.nn.relu(x),
    ),
    "relu6 is a clip": (
        lambda emit, x: op.nn.relu6(x),
        lambda emit, x: op.clip(x, 0.0, 6.0),
    ),
    "relu and a minimum are a clip": (
        lambda emit, x: op.minimum(op.maximum(x, const(0)), const(6)),
        lambda emit, x: op.clip(x, 0.0, 6.0),
    ),
    "two bounds are a clip": (
        lambda emit, x: op.maximum(op.minimum(x, const(2)), const(-1)),
        lambda emit, x: op.clip(x, -1.0, 2.0),
    ),
    "one element is a scalar": (
        lambda emit, x: op.multiply(x, const([[[0.5]]])),
        lambda emit, x: op.multiply(x, const(0.5)),
    ),
    "equal elements are a scalar": (
        lambda emit, x: op.add(x, const([3, 3, 3])),
        lambda emit, x: op.add(x, const(3)),
    ),
    "leading unit axes go": (
        lambda emit, x: op.add(x, const(VECTOR.reshape(1, 1, 3))),
        lambda emit, x: op.add(x, const(VECTOR)),
    ),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_has_one_spelling(name: str) -> None:
    before, expected = (module(body, (2, 4, 3)) for body in ARITHMETIC[name])
    assert_becomes(simplify_arithmetic, before, expected)


UNTOUCHED = {
    "a constant that gives the result its shape": lambda emit, x: op.add(x, const([[[1], [1]]])),
    "a constant minus a value": lambda emit, x: op.subtract(const(1), x),
    "a division by zero": lambda emit, x: op.divide(x, const(0)),
    "bounds that cross": lambda emit, x: op.maximum(op.minimum(x, const(-1)), const(2)),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_arithmetic_that_means_something_else_stays(name: str) -> None:
    assert_stays(simplify_arithmetic, module(UNTOUCHED[name], (1, 1, 3)))


IDENTITIES = {
    "dropout": (lambda emit, x: relax.TupleGetItem(emit(op.nn.dropout(x)), 0), lambda emit, x: x),
    "a cast to the same": (lambda emit, x: op.astype(x, "float32"), lambda emit, x: x),
    "adding nothing": (lambda emit, x: op.add(x, const(0)), lambda emit, x: x),
    "multiplying by one": (lambda emit, x: op.multiply(x, const(1)), lambda emit, x: x),
    "a permutation in order": (lambda emit, x: op.permute_dims(x, [0, 1, 2]), lambda emit, x: x),
    "permutations that cancel": (
        lambda emit, x: op.permute_dims(op.permute_dims(x, [2, 0, 1]), [1, 2, 0]),
        lambda emit, x: x,
    ),
    "permutations in a row": (
        lambda emit, x: op.permute_dims(op.permute_dims(x, [2, 0, 1]), [1, 0, 2]),
        lambda emit, x: op.permute_dims(x, [0, 2, 1]),
    ),
    "reshapes that cancel": (
        lambda emit, x: op.reshape(op.reshape(x, (6, 4)), (2, 3, 4)),
        lambda emit, x: x,
    ),
    "reshapes in a row": (
        lambda emit, x: op.reshape(op.reshape(x, (6, 4)), (3, 8)),
        lambda emit, x: op.reshape(x, (3, 8)),
    ),
    "an inserted axis": (
        lambda emit, x: op.expand_dims(x, [1]),
        lambda emit, x: op.reshape(x, (2, 1, 3, 4)),
    ),
    "flatten": (lambda emit, x: op.flatten(x), lambda emit, x: op.reshape(x, (24,))),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_what_changes_nothing_is_removed(name: str) -> None:
    before, expected = (module(body, (2, 3, 4)) for body in IDENTITIES[name])
    assert_becomes(remove_identities, before, expected)


def test_moving_only_unit_axes_is_a_reshape() -> None:
    before = module(lambda emit, x: op.permute_dims(x, [1, 0, 3, 2]), (1, 5, 1, 4))
    expected = module(lambda emit, x: op.reshape(x, (5, 1, 4, 1)), (1, 5, 1, 4))
    assert_becomes(remove_identities, before, expected)


def test_adding_zero_that_broadcasts_stays() -> None:
    before = module(lambda emit, x: op.add(x, const(np.zeros((1,)))), ())
    assert_stays(remove_identities, before)


def test_batch_norm_is_one_multiplication_and_one_addition() -> None:
    gamma, beta, mean = (normal(3, seed=i) for i in range(3))
    variance = normal(3, seed=3) ** 2

    def before(emit, x):
        parameters = [const(v) for v in (gamma, beta, mean, variance)]
        norm = emit(op.nn.batch_norm(x, *parameters, axis=1, epsilon=0.01, training=False))
        return relax.TupleGetItem(norm, 0)

    def expected(emit, x):
        scale = gamma.astype(float) / np.sqrt(variance.astype(float) + np.float32(0.01))
        offset = beta - mean * scale
        y = op.multiply(x, const(scale.reshape(1, 3, 1, 1)))
        return op.add(y, const(offset.reshape(1, 3, 1, 1)))

    shape = (2, 3, 4, 4)
    assert_becomes(decompose_batch_norm, module(before, shape), module(expected, shape))
    assert_same_meaning(decompose_batch_norm, module(before, shape), terms=2)


def test_pieces_of_a_split_are_slices() -> None:
    def before(emit, x):
        parts = emit(op.split(x, [1, 4], axis=1))
        return op.add(relax.TupleGetItem(parts, 1), relax.TupleGetItem(parts, 2))

    def expected(emit, x):
        second = emit(op.strided_slice(x, [1], [1], [4]))
        return op.add(second, op.strided_slice(x, [1], [4], [7]))

    assert_becomes(split_to_slices, module(before, (2, 7)), module(expected, (2, 7)))


def test_an_even_split_is_sliced_at_its_multiples() -> None:
    def before(emit, x):
        return relax.TupleGetItem(emit(op.split(x, 3, axis=-1)), 2)

    expected = module(lambda emit, x: op.strided_slice(x, [1], [4], [6]), (2, 6))
    assert_becomes(split_to_slices, module(before, (2, 6)), expected)


CODES = np.array([[1, -2, 3], [4, 5, -6]], np.int8)


def dequantize(codes: np.ndarray, scales: object, axis: int) -> relax.Expr:
    zeros = np.zeros(np.shape(scales), codes.dtype)
    zero = relax.const(zeros, str(codes.dtype))
    return op.dequantize(relax.const(codes, str(codes.dtype)), const(scales), zero, axis=axis)


SIX = [1, 2, 3, 4, 5, 6]

CONSTANTS = {
    "arithmetic": (
        lambda emit, x: op.add(x, op.multiply(const([1, 2, 3]), const(2))),
        lambda emit, x: op.add(x, const([2, 4, 6])),
    ),
    "data movement": (
        lambda emit, x: op.add(x, op.permute_dims(op.reshape(const(range(6)), (3, 2)), [1, 0])),
        lambda emit, x: op.add(x, const([[0, 2, 4], [1, 3, 5]])),
    ),
    "codes are permuted, not decoded": (
        lambda emit, x: op.add(x, op.permute_dims(dequantize(CODES.T, [1, 2], 1), [1, 0])),
        lambda emit, x: op.add(x, dequantize(CODES, [1, 2], 0)),
    ),
    "codes are reshaped, their axis followed": (
        lambda emit, x: op.add(
            x, emit(op.reshape(emit(dequantize(CODES.reshape(1, 2, 3), [1, 2], 1)), (2, 3)))
        ),
        lambda emit, x: op.add(x, dequantize(CODES, [1, 2], 0)),
    ),
    "codes with one scale are reshaped": (
        lambda emit, x: op.add(
            x, emit(op.reshape(emit(dequantize(CODES.reshape(1, 6), [0.5], 0)), (2, 3)))
        ),
        lambda emit, x: op.add(x, dequantize(CODES, 0.5, -1)),
    ),
    "an int32 bias is decoded": (
        lambda emit, x: op.add(x, dequantize(CODES[0].astype(np.int32), 0.5, -1)),
        lambda emit, x: op.add(x, const([0.5, -1, 1.5])),
    ),
    "int8 codes are kept": (
        lambda emit, x: op.add(x, dequantize(CODES, 0.5, -1)),
        lambda emit, x: op.add(x, dequantize(CODES, 0.5, -1)),
    ),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_are_folded_and_codes_stay_codes(name: str) -> None:
    before, expected = (module(body, (2, 3)) for body in CONSTANTS[name])
    assert_becomes(fold_constants, before, expected)


def test_a_reshape_that_cuts_the_axis_of_scales_stays() -> None:
    def body(emit, x):
        return op.add(x, emit(op.reshape(emit(dequantize(CODES.reshape(6, 1), SIX, 0)), (2, 3))))

    assert_stays(fold_constants, module(body, (2, 3)))


def test_the_same_call_is_computed_once() -> None:
    def before(emit, x):
        left = emit(op.nn.softmax(op.add(x, const([1, 2])), axis=1))
        right = emit(op.nn.softmax(op.add(x, const([1, 2])), axis=1))
        return op.multiply(left, right)

    def expected(emit, x):
        once = emit(op.nn.softmax(op.add(x, const([1, 2])), axis=1))
        return op.multiply(once, once)

    assert_becomes(merge_equal_calls, module(before, (2, 2)), module(expected, (2, 2)))


def test_calls_that_differ_in_an_attribute_or_a_constant_stay_apart() -> None:
    def body(emit, x):
        left = op.nn.softmax(op.add(x, const([1, 2])), axis=1)
        right = op.nn.softmax(op.add(x, const([1, 2])), axis=0)
        return op.add(op.multiply(left, right), op.add(x, const([1, 3])))

    def expected(emit, x):
        shared = emit(op.add(x, const([1, 2])))
        product = op.multiply(op.nn.softmax(shared, axis=1), op.nn.softmax(shared, axis=0))
        return op.add(product, op.add(x, const([1, 3])))

    assert_becomes(merge_equal_calls, module(body, (2, 2)), module(expected, (2, 2)))


def test_an_infinite_bound_does_not_make_a_clip() -> None:
    assert_stays(
        simplify_arithmetic,
        module(lambda emit, x: op.minimum(op.nn.relu(x), const(math.inf)), (3,)),
    )
