"""8-bit floats on GPUs: products of e4m3 on tensor cores, and codes in memory."""

import ml_dtypes  # noqa: F401  numpy learns float8_e4m3fn from it
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hago.codegen.epilogue import Epilogue, Step
from hago.codegen.workload import (
    BatchMatmul,
    Conv2d,
    Elementwise,
    Matmul,
    Permute,
    Pool2d,
    RowReduce,
)
from hago.float8 import decode_float8, encode_float8, round_float8
from hago.hardware.load import load_spec
from hago.lower.select import build_kernel, find_template, machine_of
from tests.codegen.recipes import Recipe
from tests.cuda.cases import inputs_of, meaning, play_each
from tests.cuda.gpu import program, run, source
from tests.cuda.ptx import instructions, loops, ptx
from tests.cuda.test_others import SLACK

HOPPER, FLOAT8 = "cuda-sm90", "float8_e4m3fn"
E4M3, PAD = {"data": FLOAT8, "weight": FLOAT8}, (1, 1, 1, 1)
CODES = Recipe(output=FLOAT8)
WORKLOADS = {
    "odd sizes": (Matmul(33, 37, 51, **E4M3), Recipe(activation="gelu")),
    "several tiles of depth": (Matmul(40, 72, 520, **E4M3), Recipe(residual="float32")),
    "3x3": (Conv2d(1, 7, 6, 32, 24, 3, 3, padding=PAD, **E4M3), Recipe()),
    "attention": (BatchMatmul(2, 17, 21, 40, **E4M3), Recipe()),
    "codes": (Matmul(20, 24, 40, **E4M3), Recipe(activation="relu", output=FLOAT8)),
    "codes that saturate": (Matmul(9, 35, 64, **E4M3), Recipe(output=FLOAT8, scale=0.001)),
    "codes below the normal ones": (Matmul(5, 8, 32, **E4M3), Recipe(output=FLOAT8, scale=900.0)),
    "3x3, codes are added": (
        Conv2d(1, 6, 7, 16, 20, 3, 3, (2, 1), PAD, **E4M3), Recipe(residual=FLOAT8, output=FLOAT8),
    ),
    "attention, codes": (BatchMatmul(3, 20, 40, 33, **E4M3), CODES),
    "max pool of codes": (Pool2d("max", 1, 7, 8, 12, (3, 3), (2, 2), PAD, FLOAT8), CODES),
    "mean of codes": (Pool2d("avg", 1, 7, 7, 36, (7, 7), (1, 1), data=FLOAT8), CODES),
    "sum of codes": (RowReduce("sum", 9, 100, data=FLOAT8), Recipe()),
    "codes as numbers": (Elementwise((4, 5, 12), FLOAT8), Recipe(activation="tanh")),
    "numbers as codes": (Elementwise((33, 7)), CODES),
    "transposition of codes": (Permute((2, 40, 3, 36), (0, 2, 3, 1), FLOAT8), CODES),
    "permutation of codes": (Permute((2, 9, 3, 8), (0, 2, 1, 3), FLOAT8), Recipe()),
}  # fmt: skip


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return play_each(WORKLOADS, HOPPER, tmp_path_factory.mktemp("cuda"))


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_kernel_equals_its_meaning(played, name):
    cases, played_program, names = played
    cases[name].check(played_program, names[name], slack=SLACK)


@pytest.mark.parametrize(
    "workload",
    [Matmul(2048, 2048, 4096, **E4M3), Conv2d(8, 56, 56, 128, 128, 3, 3, padding=PAD, **E4M3)],
    ids=["matmul", "conv2d"],
)
def test_tensor_cores_multiply_e4m3_in_the_loop(workload):
    codes = Epilogue("float32", FLOAT8, (), (Step(f"encode_{FLOAT8}", (0,)),))
    (text,) = ptx([build_kernel(workload, codes, machine_of(load_spec(HOPPER)))], HOPPER)
    name = "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32"
    assert max(instructions(loop)[name] for loop in loops(text)) >= 16
    assert instructions(text)["cvt.rn.satfinite.e4m3x2.f32"] > 0


@pytest.mark.parametrize("hardware", ["cuda-sm75", "cuda-sm80"])
def test_older_tensor_cores_do_not_take_e4m3(hardware):
    assert find_template(Matmul(8, 8, 8, **E4M3), machine_of(load_spec(hardware))) is None


EVERY = np.arange(256, dtype=np.uint8)


def values_and_neighbours(kind):
    """All values of a format, what lies in the middle of two, and what lies next to these."""
    values = decode_float8(EVERY, kind)
    values = np.unique(values[np.isfinite(values)])
    middles = (values[1:] + values[:-1]) / 2
    near = [np.nextafter(middles, np.float32(side)) for side in (np.inf, -np.inf)]
    return np.concatenate([values, middles, *near]).astype(np.float32)


BEYOND = np.array([449, 464, 465, 1e9, np.inf, np.nan, -449, -480, -1e9, -np.inf, -0.0], "f4")
NUMBERS = values_and_neighbours("float8_e4m3")
CODECS = {
    "rounding to e4m3": (NUMBERS, FLOAT8, "float32", round_float8(NUMBERS, "float8_e4m3")),
    "rounding to e5m2": (
        NUMBERS, "float8_e5m2", "float32", round_float8(NUMBERS, "float8_e5m2"),
    ),
    "encoding, with what is beyond": (
        np.concatenate([NUMBERS, BEYOND]), f"encode_{FLOAT8}", FLOAT8,
        encode_float8(np.concatenate([NUMBERS, BEYOND]), "float8_e4m3").view(FLOAT8),
    ),
    "decoding": (
        EVERY.view(FLOAT8), f"decode_{FLOAT8}", "float32", decode_float8(EVERY, "float8_e4m3"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def codecs(tmp_path_factory):
    device = machine_of(load_spec(HOPPER))
    kernels = [
        build_kernel(
            Elementwise(inputs.shape, str(inputs.dtype)),
            Epilogue(str(inputs.dtype), dtype, (), (Step(op, (0,)),)),
            device,
        )
        for inputs, op, dtype, _ in CODECS.values()
    ]
    built = program(source(kernels, HOPPER), device.capability, tmp_path_factory.mktemp("cuda"))
    return built, dict(zip(CODECS, enumerate(kernels), strict=True))


@pytest.mark.parametrize("name", CODECS)
def test_every_number_becomes_the_nearest_code_and_every_code_its_number(codecs, name):
    built, kernels = codecs
    number, kernel = kernels[name]
    inputs, _, dtype, expected = CODECS[name]
    output = np.zeros(inputs.shape, dtype)
    run(kernel, built, f"k{number}", [inputs, output], seed=1)
    if dtype == FLOAT8:
        assert np.array_equal(output.view(np.uint8), expected.view(np.uint8))
    else:
        assert np.array_equal(output, expected, equal_nan=True)


FINITE = np.delete(EVERY, [0x7F, 0xFF])
SAMPLED = {
    "matmul": Matmul(5, 9, 35, **E4M3), "conv2d": Conv2d(1, 4, 5, 6, 7, 3, 3, padding=PAD, **E4M3),
}  # fmt: skip


@pytest.fixture(scope="module")
def sums(tmp_path_factory):
    device, plain = machine_of(load_spec(HOPPER)), Epilogue("float32", "float32")
    kernels = [build_kernel(work, plain, device) for work in SAMPLED.values()]
    built = program(source(kernels, HOPPER), device.capability, tmp_path_factory.mktemp("cuda"))
    return built, dict(zip(SAMPLED, enumerate(kernels), strict=True))


@pytest.mark.parametrize("name", SAMPLED)
@given(codes=st.lists(st.sampled_from(FINITE), min_size=1), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_sums_of_products_of_any_codes_are_those_of_the_reference(sums, name, codes, seed):
    built, kernels = sums
    number, kernel = kernels[name]
    random, work = np.random.default_rng(seed), SAMPLED[name]
    shapes = [shape for shape, _ in inputs_of(work)]
    data, weight = (random.choice(np.array(codes), shape).view(FLOAT8) for shape in shapes)
    output = np.zeros(work.output_shape, np.float32)
    run(kernel, built, f"k{number}", [data, kernel.pack(weight), output], seed=1)
    sizes = meaning(work, [np.abs(data), np.abs(weight)])
    # Each product rounds the sum by 2^-24 of what it is at most.
    products = data.size // work.m if name == "matmul" else weight[0].size
    assert np.all(np.abs(output - meaning(work, [data, weight])) <= products * 2**-24 * sizes)
