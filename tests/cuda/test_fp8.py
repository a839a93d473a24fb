"""Products of e4m3 on Hopper's tensor cores, and rounding to 8-bit floats."""

import ml_dtypes  # noqa: F401  numpy learns float8_e4m3fn from it
import numpy as np
import pytest

from hago.codegen.epilogue import Epilogue, Step
from hago.codegen.workload import BatchMatmul, Conv2d, Elementwise, Matmul
from hago.float8 import decode_float8, round_float8
from hago.hardware.load import load_spec
from hago.lower.select import build_kernel, find_template, machine_of
from tests.codegen.recipes import Recipe
from tests.cuda.cases import case, play
from tests.cuda.gpu import program, run, source
from tests.cuda.ptx import instructions, loops, ptx
from tests.cuda.test_others import SLACK

HOPPER, E4M3 = "cuda-sm90", {"data": "float8_e4m3fn", "weight": "float8_e4m3fn"}
WORKLOADS = {
    "odd sizes": (Matmul(33, 37, 51, **E4M3), Recipe(activation="gelu")),
    "several tiles of depth": (Matmul(40, 72, 520, **E4M3), Recipe(residual="float32")),
    "3x3": (Conv2d(1, 7, 6, 32, 24, 3, 3, padding=(1, 1, 1, 1), **E4M3), Recipe()),
    "attention": (BatchMatmul(2, 17, 21, 40, **E4M3), Recipe()),
}


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    cases = {name: case(*each, HOPPER) for name, each in WORKLOADS.items()}
    return cases, *play(cases, HOPPER, tmp_path_factory.mktemp("cuda"))


@pytest.mark.parametrize("name", WORKLOADS)
def test_products_of_e4m3_equal_their_meaning(played, name):
    cases, played_program, names = played
    cases[name].check(played_program, names[name], slack=SLACK)


def test_tensor_cores_multiply_e4m3_in_the_loop():
    workload = Matmul(2048, 2048, 4096, **E4M3)
    kernel = build_kernel(workload, Epilogue("float32", "float32"), machine_of(load_spec(HOPPER)))
    (text,) = ptx([kernel], HOPPER)
    name = "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32"
    assert max(instructions(loop)[name] for loop in loops(text)) >= 16


@pytest.mark.parametrize("hardware", ["cuda-sm75", "cuda-sm80"])
def test_older_tensor_cores_do_not_take_e4m3(hardware):
    assert find_template(Matmul(8, 8, 8, **E4M3), machine_of(load_spec(hardware))) is None


@pytest.mark.parametrize("kind", ["float8_e4m3", "float8_e5m2"])
def test_rounding_gives_the_nearest_value_ties_to_even(kind, tmp_path):
    op = {"float8_e4m3": "float8_e4m3fn"}.get(kind, kind)
    values = decode_float8(np.arange(256, dtype=np.uint8), kind)
    values = np.unique(values[np.isfinite(values)])
    middles = (values[1:] + values[:-1]) / 2
    inputs = np.concatenate(
        [values, middles, np.nextafter(middles, np.float32(np.inf)),
         np.nextafter(middles, np.float32(-np.inf))]
    ).astype(np.float32)  # fmt: skip
    epilogue = Epilogue("float32", "float32", (), (Step(op, (0,)),))
    device = machine_of(load_spec(HOPPER))
    kernel = build_kernel(Elementwise(inputs.shape), epilogue, device)
    built = program(source([kernel], HOPPER), device.capability, tmp_path)
    output = np.zeros_like(inputs)
    run(kernel, built, "k0", [inputs, output], seed=1)
    assert np.array_equal(output, round_float8(inputs, kind))
