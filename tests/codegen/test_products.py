"""Every product template equals its numpy meaning, on every instruction set."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.kernels.batch_matmul import build_batch_matmul
from hago.codegen.kernels.conv import build_conv
from hago.codegen.kernels.depthwise import build_depthwise
from hago.codegen.kernels.matmul import build_matmul
from hago.codegen.select import choose_dot
from hago.codegen.workload import BatchMatmul, Conv2d, Machine, Matmul, convolve
from hago.errors import BuildError
from tests.codegen.isa import MACHINES, compiled, machine, random_tensor, run

TYPES = {
    "float32": ("float32", "float32"),
    "int8": ("uint8", "int8"),
    "int8_pairs": ("uint8", "int8_pairs"),
}
CONVOLUTIONS = {
    "3x3, odd channels, batch 2": Conv2d(2, 7, 6, 5, 11, 3, 3, padding=(1, 1, 1, 1)),
    "3x3, stride 2, uneven padding": Conv2d(1, 7, 6, 5, 19, 3, 3, (2, 2), (0, 1, 1, 0)),
    "3x3, dilated, strides 1 and 2": Conv2d(1, 9, 8, 8, 12, 3, 3, (1, 2), (1, 1, 1, 1), (2, 2)),
    "3x3, 4 groups": Conv2d(1, 9, 8, 8, 12, 3, 3, padding=(1, 1, 1, 1), groups=4),
    "1x1, many rows": Conv2d(1, 9, 8, 24, 40, 1, 1),
    "1x1, stride 2": Conv2d(1, 6, 5, 20, 24, 1, 1, (2, 2)),
    "7x7 stem of 3 channels": Conv2d(1, 18, 18, 3, 33, 7, 7, (2, 2), (3, 3, 3, 3)),
    "5x1": Conv2d(1, 9, 4, 16, 16, 5, 1, padding=(2, 0, 2, 0)),
}
DEPTHWISE = {
    "3x3, odd channels": Conv2d(1, 9, 8, 27, 27, 3, 3, padding=(1, 1, 1, 1), groups=27),
    "5x5, stride 2, batch 2": Conv2d(2, 9, 8, 19, 19, 5, 5, (2, 2), (2, 2, 2, 2), groups=19),
    "3x3, dilated": Conv2d(1, 9, 9, 32, 32, 3, 3, (1, 1), (2, 2, 2, 2), (2, 2), groups=32),
    "long rows, uneven padding": Conv2d(1, 6, 37, 32, 32, 3, 3, (1, 1), (0, 1, 1, 0), groups=32),
    "window larger than image": Conv2d(1, 2, 3, 16, 16, 5, 5, (1, 1), (2, 2, 2, 2), groups=16),
    "tall dilated steps": Conv2d(1, 7, 20, 16, 16, 3, 3, (2, 2), (3, 3, 3, 3), (3, 3), groups=16),
    "many weights": Conv2d(1, 5, 5, 176, 176, 5, 5, (1, 1), (2, 2, 2, 2), groups=176),
}


def plain(accum):
    return Epilogue(accum, accum)


def bound(products, depth):
    """float32 sums of ``depth`` products: each addition rounds by eps/2 of the partial sum."""
    return depth * np.finfo(np.float32).eps * np.abs(products).max() * 4


def check(actual, exact, depth):
    if actual.dtype == np.int32:
        assert np.array_equal(actual, exact)
    else:
        assert np.abs(actual - exact).max() <= bound(exact, depth)


def convolution(workload, isa, build=build_conv):
    random = np.random.default_rng(0)
    shape = (workload.co, workload.kh, workload.kw, workload.ci // workload.groups)
    data = random_tensor(random, (workload.n, workload.h, workload.w, workload.ci), workload.data)
    weight = random_tensor(random, shape, workload.weight)
    kernel = build(workload, plain(workload.accum), machine(isa))
    exact = convolve(workload, data, weight)
    output = np.zeros(workload.output_shape, workload.accum)
    actual = run(kernel, isa, [data, kernel.pack(weight)], output)
    check(actual, exact, workload.kh * workload.kw * shape[-1])


def product(workload, isa):
    random = np.random.default_rng(0)
    data = random_tensor(random, (workload.m, workload.k), workload.data)
    weight = random_tensor(random, (workload.k, workload.n), workload.weight)
    kernel = build_matmul(workload, plain(workload.accum), machine(isa))
    wide = np.int64 if workload.accum == "int32" else np.float64
    exact = data.astype(wide) @ weight.astype(wide)
    output = np.zeros(workload.output_shape, workload.accum)
    check(run(kernel, isa, [data, kernel.pack(weight)], output), exact, workload.k)


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("types", TYPES)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name, types, isa):
    data, weight = TYPES[types]
    code = 0 if types == "float32" else 9
    workload = replace(CONVOLUTIONS[name], data=data, weight=weight, pad_code=code)
    convolution(workload, isa)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@pytest.mark.parametrize("types", ["float32", "int8"])
@pytest.mark.parametrize("name", DEPTHWISE)
def test_depthwise_convolution(name, types, isa):
    data, weight = TYPES[types]
    code = 0 if types == "float32" else 9
    workload = replace(DEPTHWISE[name], data=data, weight=weight, pad_code=code)
    convolution(workload, isa, build_depthwise)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(1, 40), st.integers(1, 100), st.integers(1, 70),
    st.sampled_from(sorted(TYPES)), st.sampled_from(sorted(MACHINES)),
)  # fmt: skip
def test_any_matrix_product(m, n, k, types, isa):
    data, weight = TYPES[types]
    product(Matmul(m, n, k, data, weight), isa)


@pytest.mark.parametrize("n", [1, 3, 10, 97, 1000])
def test_channels_that_do_not_fill_a_register(n):
    product(Matmul(5, n, 37, "uint8", "int8"), "vnni")
    product(Matmul(5, n, 37), "avx2")


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("types", ["float32", "int8"])
@pytest.mark.parametrize("shape", [(3, 5, 7, 10), (2, 17, 33, 8), (2, 4, 32, 3)])
def test_product_of_two_activations(shape, types, isa):
    data, weight = TYPES[types]
    workload = BatchMatmul(*shape, data, weight)
    random = np.random.default_rng(0)
    left = random_tensor(random, (workload.batch, workload.m, workload.k), data)
    right = random_tensor(random, (workload.batch, workload.k, workload.n), weight)
    kernel = build_batch_matmul(workload, plain(workload.accum), machine(isa))
    wide = np.int64 if workload.accum == "int32" else np.float64
    exact = left.astype(wide) @ right.astype(wide)
    output = np.zeros(workload.output_shape, workload.accum)
    check(run(kernel, isa, [left, right], output), exact, workload.k)


def requantized(channels, zero_point):
    """(acc * scale + bias + (residual - 3) * 0.25), clipped at 0, to uint8 codes."""
    operands = (
        Operand((channels,), "float32"),
        Operand((channels,), "float32"),
        Operand((1, 6, 5, channels), "uint8"),
    )
    steps = (
        Step("float", (0,)), Step("multiply", (4, 1)), Step("add", (5, 2)),
        Step("float", (3,)), Step("add_const", (7,), (-3.0,)),
        Step("multiply_const", (8,), (0.25,)), Step("add", (6, 9)), Step("relu", (10,)),
        Step("quantize", (11,), (0.37, zero_point, 0, 255)), Step("uint8", (12,)),
    )  # fmt: skip
    return Epilogue("int32", "uint8", operands, steps)


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("channels", [16, 24, 35])
def test_a_fused_epilogue_differs_only_at_ties(channels, isa):
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
    kernel = build_conv(workload, epilogue, machine(isa))
    exact = epilogue.evaluate(convolve(workload, data, weight), operands).astype(int)
    inputs = [data, kernel.pack(weight), *operands]
    actual = run(kernel, isa, inputs, np.zeros(workload.output_shape, "uint8")).astype(int)
    # A fused multiply-add rounds once where numpy rounds twice: only a tie can tell.
    assert np.abs(actual - exact).max() <= 1
    assert (actual != exact).mean() < 1e-3


def test_a_machine_without_an_instruction_for_the_types_is_refused():
    with pytest.raises(BuildError, match="no instruction for uint8 x int8"):
        choose_dot(Matmul(1, 1, 1, "uint8", "int8"), Machine(64, frozenset({"vfmadd"})))


@pytest.mark.parametrize(
    ("isa", "types", "instruction"),
    [
        ("vnni", "int8", "vpdpbusd"),
        ("avx512", "int8", "vpmaddwd"),
        ("avx2", "int8_pairs", "vpmaddubsw"),
        ("vnni", "float32", "vfmadd"),
    ],
)
def test_the_hot_loop_is_the_instruction_and_nothing_slow(isa, types, instruction):
    data, weight = TYPES[types]
    workload = Conv2d(1, 14, 14, 64, 64, 3, 3, padding=(1, 1, 1, 1), data=data, weight=weight)
    kernel = build_conv(workload, plain(workload.accum), MACHINES[isa])
    assembly = compiled(kernel, isa).mod.inspect_source("s")
    assert instruction in assembly
    for slow in ("vpgather", "vgather", "vpextrb", "vpinsrb"):
        assert slow not in assembly, slow
