"""Softmax and layer normalisation equal their numpy meaning over any rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from hago.codegen.epilogue import Epilogue
from hago.codegen.fold import fold
from hago.codegen.kernels.reduce import build_row_reduce
from hago.codegen.workload import RowReduce
from tests.codegen.isa import MACHINES, machine, random_tensor, run
from tests.codegen.judge import assert_equal
from tests.codegen.recipes import PLAIN, recipes
from tests.codegen.workloads import FEW

UNCHANGED = Epilogue("float32", "float32")
ROWS = st.integers(1, 10)
LENGTHS = st.one_of(st.integers(1, 40), st.sampled_from([64, 127, 197, 384]))


def softmax(data):
    return special.softmax(data.astype(np.float64), axis=-1)


def layer_norm(data, gamma, beta, epsilon):
    wide = data.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * gamma + beta


def rms_norm(data, gamma, epsilon):
    wide = data.astype(np.float64)
    return wide / np.sqrt((wide**2).mean(-1, keepdims=True) + epsilon) * gamma


def check(workload, data, affine, exact, recipe, isa, error):
    random = np.random.default_rng(1)
    accumulator = exact.astype(np.float32)
    epilogue, operands = recipe.build(accumulator, random)
    kernel = build_row_reduce(workload, fold(epilogue), machine(isa))
    output = np.zeros(data.shape, epilogue.dtype)
    actual = run(kernel, isa, [data, *affine, *operands], output)
    # The recipe scales by at most 8 over the largest value.
    slack = error * 8 / max(1.0, float(np.abs(accumulator).max()))
    assert_equal(actual, epilogue, accumulator, operands, slack)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@FEW
@given(rows=ROWS, length=LENGTHS, recipe=recipes(PLAIN), spread=st.sampled_from([0.01, 1.0, 30.0]))
def test_softmax(isa, rows, length, recipe, spread):
    data = (np.random.default_rng(0).normal(size=(rows, length)) * spread).astype(np.float32)
    workload = RowReduce("softmax", rows, length)
    # exp and the sum round relatively by 3e-7 and length * eps; nothing is larger than 1.
    check(workload, data, [], softmax(data), recipe, isa, 1e-6 + length * 6e-8)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@FEW
@given(rows=ROWS, length=LENGTHS, recipe=recipes(PLAIN), offset=st.sampled_from([0.0, 1.0, -20.0]))
def test_layer_norm(isa, rows, length, recipe, offset):
    random = np.random.default_rng(0)
    data = (random.normal(size=(rows, length)) + offset).astype(np.float32)
    gamma, beta = (random.normal(size=length).astype(np.float32) for _ in range(2))
    workload = RowReduce("layer_norm", rows, length, 1e-5)
    exact = layer_norm(data, gamma, beta, 1e-5)
    # The mean and each difference round by length * eps of the offset; a row of equal numbers
    # makes 1/sqrt(epsilon) of that.
    deviation = max(float(data.std(-1).min()), 1e-5**0.5) if length > 1 else 1e-5**0.5
    largest = np.abs(data).max() * np.abs(gamma).max()
    check(workload, data, [gamma, beta], exact, recipe, isa,
          4 * length * 6e-8 * largest / deviation + 1e-5)  # fmt: skip


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@FEW
@given(rows=ROWS, length=LENGTHS, recipe=recipes(PLAIN), spread=st.sampled_from([0.01, 1.0, 30.0]))
def test_rms_norm(isa, rows, length, recipe, spread):
    random = np.random.default_rng(0)
    data = (random.normal(size=(rows, length)) * spread).astype(np.float32)
    gamma = random.normal(size=length).astype(np.float32)
    exact = rms_norm(data, gamma, 1e-5)
    # A sum of squares, none negative, rounds relatively by length * eps, its root by half of that.
    error = (length + 8) * 6e-8 * float(np.abs(exact).max())
    workload = RowReduce("rms_norm", rows, length, 1e-5)
    check(workload, data, [gamma], exact, recipe, isa, error + 1e-6)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
def test_a_masked_position_has_no_weight(isa):
    data = np.array([[0.0, -1e9, 1.0, -1e9]], np.float32)
    kernel = build_row_reduce(RowReduce("softmax", 1, 4), UNCHANGED, machine(isa))
    actual = run(kernel, isa, [data], np.zeros((1, 4), np.float32))
    assert actual[0, 1] == actual[0, 3] == 0
    assert actual.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("isa", MACHINES)
def test_equal_numbers_share_equally(isa):
    data = np.full((5, 37), 3.25, np.float32)
    kernel = build_row_reduce(RowReduce("softmax", 5, 37), UNCHANGED, machine(isa))
    actual = run(kernel, isa, [data], np.zeros((5, 37), np.float32))
    np.testing.assert_allclose(actual, 1 / 37, rtol=1e-6)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
def test_no_share_is_subnormal(isa):
    """Products that read such shares would be slow."""
    data = -np.linspace(0, 200, 5 * 37).astype(np.float32).reshape(5, 37)
    data[:, 0] = 0
    kernel = build_row_reduce(RowReduce("softmax", 5, 37), UNCHANGED, machine(isa))
    actual = run(kernel, isa, [data], np.zeros((5, 37), np.float32))
    assert ((actual == 0) | (actual >= np.finfo(np.float32).tiny)).all()
    np.testing.assert_allclose(actual, softmax(data), atol=3e-6)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@FEW
@given(rows=ROWS, length=LENGTHS, recipe=recipes(PLAIN), spread=st.sampled_from([0.01, 1.0, 30.0]))
def test_exp_of_shifted_rows(isa, rows, length, recipe, spread):
    data = (np.random.default_rng(0).normal(size=(rows, length)) * spread).astype(np.float32)
    exact = np.exp(data.astype(np.float64) - data.max(-1, keepdims=True))
    # exp rounds relatively by 3e-7; nothing is larger than 1.
    check(RowReduce("shifted_exp", rows, length), data, [], exact, recipe, isa, 1e-6)


@pytest.mark.parametrize("isa", MACHINES)
@FEW
@given(rows=ROWS, length=LENGTHS, dtype=st.sampled_from(["uint8", "int8", "float32", "bfloat16"]))
def test_sums_of_rows(isa, rows, length, dtype):
    workload = RowReduce("sum", rows, length, data=dtype)
    data = random_tensor(np.random.default_rng(0), (rows, length), dtype)
    kernel = build_row_reduce(workload, Epilogue(workload.accum, workload.accum), machine(isa))
    actual = run(kernel, isa, [data], np.zeros((rows, 1), workload.accum))
    exact = data.astype(np.float64).sum(-1, keepdims=True)
    if workload.accum == "int32":
        np.testing.assert_array_equal(actual, exact)
    else:
        # A sum of n numbers rounds n times, each by half an ulp of a partial sum.
        bound = length * 6e-8 * np.abs(data.astype(np.float64)).sum(-1, keepdims=True)
        assert np.all(np.abs(actual - exact) <= bound + 1e-30)
