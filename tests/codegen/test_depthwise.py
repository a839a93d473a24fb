"""Both depthwise templates equal their numpy meaning, by any schedule, on every instruction set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hago.codegen.fold import fold
from hago.codegen.kernels.depthwise import build_depthwise
from hago.codegen.kernels.depthwise_int8 import build_depthwise_int8
from hago.codegen.workload import Conv2d, convolve
from hago.lower.select import find_template
from tests.codegen.isa import MACHINES, compiled, machine, random_tensor, run
from tests.codegen.judge import assert_equal
from tests.codegen.recipes import PLAIN, Recipe, recipes
from tests.codegen.schedules import ANY_ROW_TILE, any_band_tile
from tests.codegen.workloads import CODES, FEW, depthwise

# What vpmaddubsw may not multiply: its pairs would saturate.
WIDE = {"uint8 x int8": CODES["uint8 x int8"]}


def check(workload, recipe, isa, build, tile=None):
    random = np.random.default_rng(0)
    data = random_tensor(random, (workload.n, workload.h, workload.w, workload.ci), workload.data)
    weight = random_tensor(random, (workload.co, workload.kh, workload.kw, 1), workload.weight)
    exact = convolve(workload, data, weight).astype(workload.accum)
    epilogue, operands = recipe.build(exact, random)
    kernel = build(workload, fold(epilogue), machine(isa), tile)
    output = np.zeros(workload.output_shape, epilogue.dtype)
    actual = run(kernel, isa, [data, kernel.pack(weight), *operands], output)
    # kh * kw float32 products of normal numbers (below 6 each), brought down to at most 8.
    slack = 0.0 if workload.accum == "int32" else workload.kh * workload.kw * 1e-5
    assert_equal(actual, epilogue, exact, operands, slack)


@pytest.mark.parametrize("isa", MACHINES)
@FEW
@given(workload=depthwise(CODES), recipe=recipes(PLAIN), data=st.data())
def test_any_depthwise_convolution_of_codes(isa, workload, recipe, data):
    tile = data.draw(any_band_tile(workload))
    check(workload, recipe, isa, build_depthwise_int8, tile)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@FEW
@given(workload=depthwise(), recipe=recipes(PLAIN), tile=ANY_ROW_TILE)
def test_any_depthwise_convolution_in_wide_lanes(isa, workload, recipe, tile):
    check(workload, recipe, isa, build_depthwise, tile)


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
def test_the_depthwise_layers_of_mobile_networks(size, stride, isa):
    pad = size // 2
    workload = Conv2d(
        1, 14, 14, 144, 144, size, size, (stride, stride), (pad - stride + 1,) * 2 + (pad,) * 2,
        groups=144, data="uint8", weight="int8", pad_code=3,
    )  # fmt: skip
    check(workload, Recipe(activation="relu6", output="uint8"), isa, build_depthwise_int8)


@pytest.mark.parametrize(
    ("data", "build"), [("uint8", build_depthwise_int8), ("float32", build_depthwise)]
)
def test_codes_are_interleaved_and_floats_are_not(data, build):
    weight = "float32" if data == "float32" else "int8"
    workload = Conv2d(1, 9, 9, 32, 32, 3, 3, groups=32, data=data, weight=weight)
    assert find_template(workload, MACHINES["vnni"]).build is build


@pytest.mark.parametrize(("isa", "instruction"), [
    ("vnni", "vpdpbusd"), ("avx512", "vpmaddwd"), ("avx2", "vpmaddwd"),
])  # fmt: skip
@pytest.mark.parametrize("stride", [1, 2])
def test_the_hot_loop_is_the_instruction_and_nothing_slow(stride, isa, instruction):
    workload = Conv2d(
        1, 28, 28, 128, 128, 3, 3, (stride, stride), (1, 1, 1, 1), groups=128, data="uint8",
        weight="int8",
    )  # fmt: skip
    random = np.random.default_rng(0)
    epilogue, _ = Recipe(activation="relu6", output="uint8").build(
        np.ones(workload.output_shape, np.int32), random
    )
    kernel = build_depthwise_int8(workload, fold(epilogue), MACHINES[isa])
    assembly = compiled(kernel, isa).mod.inspect_source("s")
    assert instruction in assembly
    for slow in ("vpgather", "vgather", "vpextrb", "vpinsrb"):
        assert slow not in assembly, slow
