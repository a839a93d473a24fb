"""The product templates of AMX tiles equal their numpy meaning and touch nothing else."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.kernels.batch_matmul_amx import batch_matmul_cuts
from hago.codegen.kernels.conv_amx import conv_cuts
from hago.codegen.kernels.matmul_amx import matmul_cuts
from hago.codegen.workload import BatchMatmul, Conv2d, Matmul, convolve
from tests.codegen import amx
from tests.codegen.isa import random_tensor
from tests.codegen.test_products import CONVOLUTIONS, requantized
from tests.emulator.emulation import amx_process

TYPES = {
    "u8 x s8": ("uint8", "int8"), "s8 x s8": ("int8", "int8"), "bf16": ("bfloat16", "bfloat16"),
}  # fmt: skip
MORE_CONVOLUTIONS = {
    "rows of 7 pixels, whole images": Conv2d(2, 7, 7, 64, 48, 3, 3, padding=(1, 1, 1, 1)),
    "rows of 17 pixels": Conv2d(1, 3, 17, 96, 33, 1, 1, (1, 1), (0, 1, 0, 0)),
    "one row and one column": Conv2d(3, 1, 1, 64, 130, 1, 1),
    "one column vector": Conv2d(1, 9, 9, 32, 16, 3, 3),
    "2 groups of 64 channels, dilated": Conv2d(
        1, 9, 9, 128, 64, 3, 3, (1, 1), (2, 2, 2, 2), (2, 2), 2
    ),
}
PRODUCTS = [(1, 100, 130), (16, 16, 64), (32, 32, 64), (49, 33, 197), (5, 7, 9), (100, 16, 128),
            (64, 128, 256), (33, 48, 65)]  # fmt: skip


@pytest.fixture(scope="module")
def process():
    with amx_process() as executor:
        yield executor


def plain(workload):
    return Epilogue(workload.accum, workload.accum)


def tensor(random, shape, dtype):
    if dtype == "bfloat16":
        return random.normal(size=shape).astype(ml_dtypes.bfloat16)
    return random_tensor(random, shape, dtype)


def check(actual, workload, data, other, multiply):
    """Integers are exact. A float32 sum of n products is off by at most n * 2^-24 of the sum of
    their magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, eq. 3.5)."""
    if workload.accum == "int32":
        np.testing.assert_array_equal(actual, multiply(data.astype(int), other.astype(int)))
        return
    data, other = data.astype(float), other.astype(float)
    depth = other[0].size if isinstance(workload, Conv2d) else workload.k
    bound = (depth + 1) * 2.0**-24 * multiply(np.abs(data), np.abs(other))
    assert (np.abs(actual - multiply(data, other)) <= bound).all()


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("name", CONVOLUTIONS | MORE_CONVOLUTIONS)
def test_convolution(process, name, types):
    data_type, weight_type = TYPES[types]
    code = 0 if types == "bf16" else 9
    workload = replace(
        (CONVOLUTIONS | MORE_CONVOLUTIONS)[name],
        data=data_type, weight=weight_type, pad_code=code,
    )  # fmt: skip
    random = np.random.default_rng(0)
    shape = (workload.co, workload.kh, workload.kw, workload.ci // workload.groups)
    data = tensor(random, (workload.n, workload.h, workload.w, workload.ci), data_type)
    weight = tensor(random, shape, weight_type)
    actual = process.submit(amx.run, workload, plain(workload), data, weight).result()
    check(actual, workload, data, weight, lambda a, b: convolve(workload, a, b))


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("shape", PRODUCTS, ids=str)
def test_matrix_product(process, shape, types):
    workload = Matmul(*shape, *TYPES[types])
    random = np.random.default_rng(0)
    data = tensor(random, (workload.m, workload.k), workload.data)
    weight = tensor(random, (workload.k, workload.n), workload.weight)
    actual = process.submit(amx.run, workload, plain(workload), data, weight).result()
    check(actual, workload, data, weight, np.matmul)


@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("shape", [(3, 5, 7, 10), (2, 17, 33, 8), (2, 40, 32, 197)], ids=str)
def test_product_of_two_activations(process, shape, types):
    workload = BatchMatmul(*shape, *TYPES[types])
    random = np.random.default_rng(0)
    left = tensor(random, (workload.batch, workload.m, workload.k), workload.data)
    right = tensor(random, (workload.batch, workload.k, workload.n), workload.weight)
    actual = process.submit(amx.run, workload, plain(workload), left, right).result()
    check(actual, workload, left, right, np.matmul)


@pytest.mark.parametrize("number", range(6))
def test_every_cut_of_a_convolution_gives_the_same_sums(process, number):
    work = Conv2d(1, 9, 19, 48, 80, 3, 3, padding=(1, 1, 1, 1), data="uint8", weight="int8")
    random = np.random.default_rng(4)
    data = random_tensor(random, (1, 9, 19, 48), "uint8")
    weight = random_tensor(random, (80, 3, 3, 48), "int8")
    cut = conv_cuts(work, amx.AMX)[number]
    actual = process.submit(amx.run, work, plain(work), data, weight, (), cut).result()
    check(actual, work, data, weight, lambda a, b: convolve(work, a, b))


@pytest.mark.parametrize(("work", "cuts"), [
    (Matmul(75, 70, 100, "uint8", "int8"), matmul_cuts),
    (BatchMatmul(2, 37, 50, 70, "uint8", "int8"), batch_matmul_cuts),
], ids=["matmul", "batch_matmul"])  # fmt: skip
def test_another_cut_of_a_product_gives_the_same_sums(process, work, cuts):
    random, batch = np.random.default_rng(4), getattr(work, "batch", None)
    shapes = [(work.m, work.k), (work.k, work.n)]
    left, right = (
        random_tensor(random, shape if batch is None else (batch, *shape), dtype)
        for shape, dtype in zip(shapes, ("uint8", "int8"), strict=True)
    )
    cut = cuts(work, amx.AMX)[-1]
    actual = process.submit(amx.run, work, plain(work), left, right, (), cut).result()
    check(actual, work, left, right, np.matmul)


@pytest.mark.parametrize("channels", [16, 24, 35, 64])
def test_a_fused_epilogue_differs_only_at_ties(process, channels):
    workload = Conv2d(1, 6, 5, 8, channels, 3, 3, padding=(1, 1, 1, 1), data="uint8", weight="int8")
    random = np.random.default_rng(1)
    data = random_tensor(random, (1, 6, 5, 8), "uint8")
    weight = random_tensor(random, (channels, 3, 3, 8), "int8")
    operands = [
        random.uniform(1e-4, 1e-3, channels).astype("float32"),
        random.normal(size=channels).astype("float32"),
        random_tensor(random, workload.output_shape, "uint8"),
    ]
    epilogue = requantized(channels, 5)
    exact = epilogue.evaluate(convolve(workload, data, weight), operands).astype(int)
    actual = process.submit(amx.run, workload, epilogue, data, weight, operands).result()
    # A fused multiply-add rounds once where numpy rounds twice: only a tie can tell.
    assert np.abs(actual.astype(int) - exact).max() <= 1
    assert (actual != exact).mean() < 1e-3


def test_bfloat16_leaves_rounded_to_nearest_even(process):
    workload = Matmul(40, 33, 64, "bfloat16", "bfloat16")
    random = np.random.default_rng(2)
    # Small integers: every product and sum is exact, so only the last rounding is seen.
    data = random.integers(-9, 10, (40, 64)).astype(ml_dtypes.bfloat16)
    weight = random.integers(-9, 10, (64, 33)).astype(ml_dtypes.bfloat16)
    bias = random.integers(-99, 100, 33).astype("float32")
    epilogue = Epilogue(
        "float32", "bfloat16", (Operand((33,), "float32"),),
        (Step("add", (0, 1)), Step("bfloat16", (2,))),
    )  # fmt: skip
    exact = (data.astype("float32") @ weight.astype("float32") + bias).astype(ml_dtypes.bfloat16)
    actual = process.submit(amx.run, workload, epilogue, data, weight, [bias]).result()
    np.testing.assert_array_equal(actual, exact)


def test_every_thread_has_tiles_of_its_own(process):
    workload = Conv2d(2, 28, 28, 64, 64, 3, 3, padding=(1, 1, 1, 1), data="uint8", weight="int8")
    random = np.random.default_rng(3)
    data = random_tensor(random, (2, 28, 28, 64), "uint8")
    weight = random_tensor(random, (64, 3, 3, 64), "int8")
    process.submit(amx.use_threads, 4).result()
    actual = process.submit(amx.run, workload, plain(workload), data, weight).result()
    process.submit(amx.use_threads, 1).result()
    check(actual, workload, data, weight, lambda a, b: convolve(workload, a, b))
