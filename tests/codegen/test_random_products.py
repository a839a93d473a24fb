"""Convolutions and products of any shape, by any schedule, with any epilogue equal their numpy
meaning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hago.codegen.epilogue import Epilogue
from hago.codegen.fold import fold
from hago.codegen.kernels import product
from hago.codegen.kernels.batch_matmul import build_batch_matmul
from hago.codegen.kernels.conv import build_conv
from hago.codegen.kernels.matmul import build_matmul
from hago.codegen.workload import BatchMatmul, Conv2d, Matmul, convolve
from tests.codegen.isa import MACHINES, machine, random_tensor, run
from tests.codegen.judge import assert_equal
from tests.codegen.recipes import PLAIN, Recipe, recipes
from tests.codegen.schedules import any_blocking
from tests.codegen.workloads import CODES, FEW, TYPES, convolutions

SIZES = st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 48, 63, 64, 65, 97]))


def check(kernel, isa, inputs, exact, recipe, depth, choose=product.choose_blocking):
    """``exact`` has the accumulator's dtype, but float64 where that is float32."""
    random = np.random.default_rng(1)
    accumulator = exact.astype(np.int32 if exact.dtype.kind == "i" else np.float32)
    epilogue, operands = recipe.build(accumulator, random)
    output = np.zeros(exact.shape, epilogue.dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product, "choose_blocking", choose)
        built = kernel(fold(epilogue))
    packed = [built.pack(x) if built.pack and i == 1 else x for i, x in enumerate(inputs)]
    actual = run(built, isa, [*packed, *operands], output)
    # Sums of ``depth`` float32 products below 36 round by depth * eps each; the recipe scales
    # them by at most 8 over the largest.
    largest = max(1.0, float(np.abs(exact).max()))
    slack = 0.0 if exact.dtype.kind == "i" else depth * 6e-8 * 36 * depth * 8 / largest
    assert_equal(actual, epilogue, accumulator, operands, slack)


def wide(dtype):
    return np.float64 if dtype == "float32" else np.int64


@pytest.mark.parametrize("isa", MACHINES)
@FEW
@given(workload=convolutions(), recipe=recipes(PLAIN), choose=any_blocking())
def test_any_convolution(isa, workload, recipe, choose):
    random = np.random.default_rng(0)
    depth = workload.kh * workload.kw * workload.ci // workload.groups
    shape = (workload.co, workload.kh, workload.kw, workload.ci // workload.groups)
    data = random_tensor(random, (workload.n, workload.h, workload.w, workload.ci), workload.data)
    weight = random_tensor(random, shape, workload.weight)
    exact = convolve(workload, data, weight)
    check(lambda epilogue: build_conv(workload, epilogue, machine(isa)), isa, [data, weight],
          exact, recipe, depth, choose)  # fmt: skip


@pytest.mark.parametrize("isa", MACHINES)
@FEW
@given(m=SIZES, n=SIZES, k=SIZES, types=st.sampled_from(sorted(TYPES)), recipe=recipes(),
       choose=any_blocking())  # fmt: skip
def test_any_matrix_product(isa, m, n, k, types, recipe, choose):
    workload, random = Matmul(m, n, k, *TYPES[types]), np.random.default_rng(0)
    data = random_tensor(random, (m, k), workload.data)
    weight = random_tensor(random, (k, n), workload.weight)
    exact = data.astype(wide(workload.data)) @ weight.astype(wide(workload.data))
    check(lambda epilogue: build_matmul(workload, epilogue, machine(isa)), isa, [data, weight],
          exact, recipe, k, choose)  # fmt: skip


@pytest.mark.parametrize("isa", MACHINES)
@FEW
@given(batch=st.integers(1, 3), m=SIZES, n=SIZES, k=SIZES, recipe=recipes(PLAIN),
       types=st.sampled_from(["float32", "uint8 x int8"]), choose=any_blocking())  # fmt: skip
def test_any_product_of_two_activations(isa, batch, m, n, k, types, recipe, choose):
    workload, random = BatchMatmul(batch, m, n, k, *TYPES[types]), np.random.default_rng(0)
    left = random_tensor(random, (batch, m, k), workload.data)
    right = random_tensor(random, (batch, k, n), workload.weight)
    exact = left.astype(wide(workload.data)) @ right.astype(wide(workload.data))
    check(lambda epilogue: build_batch_matmul(workload, epilogue, machine(isa)), isa,
          [left, right], exact, recipe, k, choose)  # fmt: skip


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("types", CODES)
def test_products_of_the_largest_codes_do_not_saturate(types, isa):
    """255 * -128 (or -64) summed 513 times: beyond int16 many times over."""
    workload = Matmul(3, 17, 513, *CODES[types])
    data = np.full((3, 513), 255, np.uint8)
    weight = np.full((513, 17), -128 if workload.weight == "int8" else -64, np.int8)
    exact = data.astype(np.int64) @ weight.astype(np.int64)
    kernel = build_matmul(workload, Epilogue("int32", "int32"), machine(isa))
    actual = run(kernel, isa, [data, kernel.pack(weight)], np.zeros((3, 17), np.int32))
    np.testing.assert_array_equal(actual, exact)


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("output", ["uint8", "int8"])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5])
def test_codes_leave_in_packs_of_any_number_of_columns(columns, output, isa):
    lanes = MACHINES[isa].lanes
    workload = Conv2d(1, 5, 7, 8, columns * lanes, 1, 1, data="uint8", weight="int8")
    recipe = Recipe(residual="uint8", activation="hard limits", output=output, zero_point=100)
    random = np.random.default_rng(0)
    data = random_tensor(random, (1, 5, 7, 8), "uint8")
    weight = random_tensor(random, (workload.co, 1, 1, 8), "int8")
    check(lambda epilogue: build_conv(workload, epilogue, machine(isa)), isa, [data, weight],
          convolve(workload, data, weight), recipe, 8)  # fmt: skip
