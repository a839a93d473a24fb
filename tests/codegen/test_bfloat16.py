"""Products of bfloat16: exact products, sums within what float32 rounds, whatever the shape."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.kernels.batch_matmul import build_batch_matmul
from hago.codegen.kernels.conv import build_conv
from hago.codegen.kernels.depthwise import build_depthwise
from hago.codegen.kernels.elementwise import build_elementwise
from hago.codegen.kernels.matmul import build_matmul
from hago.codegen.kernels.pool import build_pool
from hago.codegen.select import choose_dot
from hago.codegen.vector import OPERATIONS
from hago.codegen.workload import (
    BatchMatmul,
    Conv2d,
    Elementwise,
    Machine,
    Matmul,
    Pool2d,
    convolve,
)
from hago.errors import BuildError
from hago.hardware.host import cpu_features

BF16 = ml_dtypes.bfloat16
TARGET = {"kind": "llvm", "mcpu": "cooperlake"}
MACHINE = Machine(64, frozenset({"vdpbf16ps", "vpdpbusd", "vfmadd"}))
PLAIN = Epilogue("float32", "float32")
CONVOLUTIONS = {
    "3x3, odd channels, batch 2": Conv2d(2, 7, 6, 5, 11, 3, 3, padding=(1, 1, 1, 1)),
    "3x3, dilated, strides 1 and 2": Conv2d(1, 9, 8, 8, 12, 3, 3, (1, 2), (1, 1, 1, 1), (2, 2)),
    "3x3, 4 groups of odd size": Conv2d(1, 9, 8, 12, 8, 3, 3, padding=(1, 1, 1, 1), groups=4),
    "1x1, many rows": Conv2d(1, 9, 8, 24, 40, 1, 1),
    "1x1, one channel": Conv2d(1, 4, 4, 1, 3, 1, 1),
    "7x7 stem of 3 channels": Conv2d(1, 18, 18, 3, 33, 7, 7, (2, 2), (3, 3, 3, 3)),
}
DEPTHWISE = {
    "3x3, odd channels": Conv2d(1, 9, 8, 27, 27, 3, 3, padding=(1, 1, 1, 1), groups=27),
    "5x5, stride 2, batch 2": Conv2d(2, 9, 8, 19, 19, 5, 5, (2, 2), (2, 2, 2, 2), groups=19),
}


def compiled(kernel):
    function = kernel.func.with_attr("global_symbol", "main")
    return tvm.compile(tvm.IRModule({"main": function}), TARGET)


def run(kernel, inputs, shape, dtype="float32"):
    if "avx512_bf16" not in cpu_features():
        pytest.skip("this CPU has no avx512_bf16: VDPBF16PS cannot run here")
    output = np.full(shape, 77, dtype)
    tensors = [tvm.runtime.tensor(np.ascontiguousarray(a)) for a in (*inputs, output)]
    compiled(kernel)["main"](*tensors)
    return tensors[-1].numpy()


def random_values(shape, seed=0):
    """Of both signs over several binades: sums cancel."""
    random = np.random.default_rng(seed)
    return (random.normal(size=shape) * 2.0 ** random.integers(-6, 7, shape)).astype(BF16)


def check_sum(actual, exact, magnitudes, depth):
    """``depth`` fused multiply-adds round once each: |error| <= depth u sum|a b| / (1 - depth u),
    u = 2^-24; products of 8-bit significands are exact in float32."""
    unit = depth * 2.0**-24
    assert np.all(np.abs(actual - exact) <= unit / (1 - unit) * magnitudes)


def bfloat16(workload):
    return replace(workload, data="bfloat16", weight="bfloat16")


def check_convolution(workload, build):
    data = random_values((workload.n, workload.h, workload.w, workload.ci))
    per_group = workload.ci // workload.groups
    weight = random_values((workload.co, workload.kh, workload.kw, per_group), seed=1)
    kernel = build(workload, PLAIN, MACHINE)
    actual = run(kernel, [data, kernel.pack(weight)], workload.output_shape)
    exact = convolve(workload, data, weight)
    magnitudes = convolve(workload, np.abs(data), np.abs(weight))
    check_sum(actual, exact, magnitudes, workload.kh * workload.kw * per_group)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_rounds_only_its_sums(name):
    check_convolution(bfloat16(CONVOLUTIONS[name]), build_conv)


@pytest.mark.parametrize("name", DEPTHWISE)
def test_a_depthwise_convolution_rounds_only_its_sums(name):
    check_convolution(bfloat16(DEPTHWISE[name]), build_depthwise)


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 9), st.integers(1, 70), st.integers(1, 40))
def test_any_matrix_product_rounds_only_its_sums(m, n, k):
    workload = bfloat16(Matmul(m, n, k))
    left, right = random_values((m, k)), random_values((k, n), seed=1)
    kernel = build_matmul(workload, PLAIN, MACHINE)
    actual = run(kernel, [left, kernel.pack(right)], (m, n))
    wide = [value.astype(np.float64) for value in (left, right)]
    check_sum(actual, wide[0] @ wide[1], np.abs(wide[0]) @ np.abs(wide[1]), k)


@pytest.mark.parametrize("shape", [(3, 5, 7, 11), (2, 17, 33, 8), (2, 4, 32, 3)])
def test_a_product_of_two_activations_rounds_only_its_sums(shape):
    workload = bfloat16(BatchMatmul(*shape))
    left = random_values((workload.batch, workload.m, workload.k))
    right = random_values((workload.batch, workload.k, workload.n), seed=1)
    kernel = build_batch_matmul(workload, PLAIN, MACHINE)
    actual = run(kernel, [left, right], workload.output_shape)
    wide = [value.astype(np.float64) for value in (left, right)]
    check_sum(actual, wide[0] @ wide[1], np.abs(wide[0]) @ np.abs(wide[1]), workload.k)


def test_denormals_count_as_zero():
    smallest = np.full((1, 2), 2.0**-130, np.float32).astype(BF16)
    assert np.all(smallest.astype(np.float32) > 0)
    workload = bfloat16(Matmul(1, 16, 2))
    kernel = build_matmul(workload, PLAIN, MACHINE)
    weight = np.full((2, 16), 2.0**100, np.float32).astype(BF16)
    # SDM, VDPBF16PS: "input denormals are always treated as zero"; the exact sum is 2^-29.
    assert not run(kernel, [smallest, kernel.pack(weight)], (1, 16)).any()


def residual_to_bfloat16(channels):
    """relu(acc + bias + residual) as bfloat16; the residual lies in memory as bfloat16."""
    operands = (Operand((channels,), "float32"), Operand((6, channels), "bfloat16"))
    steps = (
        Step("add", (0, 1)), Step("from_bfloat16", (2,)), Step("add", (3, 4)),
        Step("relu", (5,)), Step("bfloat16", (6,)),
    )  # fmt: skip
    return Epilogue("float32", "bfloat16", operands, steps)


@pytest.mark.parametrize("channels", [16, 35])
def test_results_are_stored_and_read_as_bfloat16(channels):
    left, right = random_values((6, 10)), random_values((10, channels), seed=1)
    bias = np.random.default_rng(2).normal(size=channels).astype("float32")
    residual = random_values((6, channels), seed=3)
    epilogue = residual_to_bfloat16(channels)
    kernel = build_matmul(bfloat16(Matmul(6, channels, 10)), epilogue, MACHINE)
    inputs = [left, kernel.pack(right), bias, residual]
    actual = run(kernel, inputs, (6, channels), "bfloat16").astype(np.float64)
    sums = (left.astype(np.float64) @ right.astype(np.float64)).astype(np.float32)
    exact = epilogue.evaluate(sums, [bias, residual]).astype(np.float64)
    # Float sums differ in order only: at a tie they may round to the neighbouring bfloat16.
    assert np.all(np.abs(actual - exact) <= 2.0**-7 * np.abs(exact) + 1e-4)
    assert (actual == exact).mean() > 0.98


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_pooling_reads_bfloat16(kind):
    workload = Pool2d(kind, 1, 7, 6, 19, (3, 3), (2, 2), (1, 1, 1, 1), data="bfloat16")
    data = random_values((1, 7, 6, 19))
    actual = run(build_pool(workload, PLAIN, MACHINE), [data], workload.output_shape)
    fill = -np.inf if kind == "max" else 0
    wide = np.pad(data.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(1, 2))[:, ::2, ::2]
    if kind == "max":
        assert np.array_equal(actual, windows.max(axis=(-2, -1)))
    else:
        magnitudes = np.abs(windows).sum(axis=(-2, -1))
        check_sum(actual, windows.sum(axis=(-2, -1)), magnitudes, 9)


SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 3.4e38, -3.4e38, 1e-40, 2.0**-133, 1e-45,
     1.00390625, 1.01171875, -1.00390625, np.finfo(np.float32).max],
    np.float32,
)  # fmt: skip


def converted(op, data, dtype, bits):
    epilogue = Epilogue(data, dtype, (), (Step(op, (0,)),))
    kernel = build_elementwise(Elementwise(bits.shape, data), epilogue, MACHINE)
    return run(kernel, [bits], bits.shape, dtype)


def same_bits(left, right):
    return np.array_equal(left.view(np.uint16), right.view(np.uint16))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_rounding_to_bfloat16_is_to_nearest_even(seed):
    bits = np.random.default_rng(seed).integers(0, 2**32, 256, dtype=np.uint32)
    ties = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    real = np.concatenate([SPECIAL, bits.view(np.float32), ties.view(np.float32)])
    actual = converted("bfloat16", "float32", "bfloat16", real)
    with np.errstate(invalid="ignore"):  # signalling NaNs among the bits
        exact = real.astype(BF16)
    numbers = ~np.isnan(real)
    assert same_bits(actual[numbers], exact[numbers])
    assert np.isnan(actual[~numbers].astype(np.float32)).all()


def test_every_bfloat16_is_read_exactly():
    codes = np.arange(2**16, dtype=np.uint16).view(BF16)
    actual = converted("from_bfloat16", "bfloat16", "float32", codes)
    exact = OPERATIONS["from_bfloat16"].evaluate(codes)
    assert np.array_equal(actual, exact, equal_nan=True)


def test_a_machine_without_bfloat16_products_is_refused():
    plain = Machine(64, frozenset({"vpdpbusd", "vfmadd"}))
    with pytest.raises(BuildError, match="no instruction for bfloat16 x bfloat16"):
        choose_dot(bfloat16(Matmul(1, 1, 1)), plain)


def test_float32_products_stay_float32_on_a_machine_with_bfloat16():
    assert choose_dot(Matmul(1, 1, 1), MACHINE).name == "vfmadd"


def test_the_hot_loop_is_the_instruction_and_nothing_slow():
    workload = bfloat16(Conv2d(1, 14, 14, 64, 64, 3, 3, padding=(1, 1, 1, 1)))
    assembly = compiled(build_conv(workload, PLAIN, MACHINE)).mod.inspect_source("s")
    assert "vdpbf16ps" in assembly
    for slow in ("vpgather", "vgather", "vpextrb", "vpinsrb", "callq\thago"):
        assert slow not in assembly, slow
