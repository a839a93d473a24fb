"""Transformed convolutions: equal the direct sum, exactly so in integers, and chosen where they
pay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hago.codegen import winograd
from hago.codegen.blocking import Blocking
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.conv_dense import conv_schedules
from hago.codegen.kernels.conv_winograd import (
    WinogradTile,
    build_conv_winograd,
    transforms,
    winograd_tiles,
)
from hago.codegen.workload import Conv2d, convolve
from tests.codegen.isa import MACHINES, compiled, machine, random_tensor, run
from tests.codegen.recipes import PLAIN, recipes
from tests.codegen.test_random_products import check
from tests.codegen.workloads import FEW

CODES = {"data": "uint8", "weight": "int8_pairs"}
SAME = {"padding": (1, 1, 1, 1)}
TILES = st.builds(WinogradTile, st.integers(1, 14), st.integers(1, 4), st.integers(1, 9))


@st.composite
def workloads(draw: st.DrawFn, codes: bool) -> Conv2d:
    """Any image, padding and batch; channels that fill vectors of 16 lanes or words of 16 bits."""
    h, w = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    sides = [draw(st.integers(max(0, 3 - size) if i == 0 else 0, 3))
             for size in (h, w) for i in range(2)]  # fmt: skip
    types = {**CODES, "pad_code": draw(st.sampled_from([0, 7, 255]))} if codes else {}
    return Conv2d(
        draw(st.integers(1, 2)), h, w, 32 * draw(st.integers(1, 3)), 16 * draw(st.integers(1, 5)),
        3, 3, padding=(sides[0], sides[2], sides[1], sides[3]), **types,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("isa", "codes"),
    [("vnni", False), ("avx2", False), ("avx2", True), ("avx512", False), ("avx512", True)],
)
@FEW
@given(data=st.data(), tile=TILES, recipe=recipes(PLAIN))
def test_any_transformed_convolution_equals_the_direct_sum(isa, codes, data, tile, recipe):
    workload, random = data.draw(workloads(codes)), np.random.default_rng(0)
    assert transforms(workload, machine(isa))
    image = random_tensor(random, (workload.n, workload.h, workload.w, workload.ci), workload.data)
    weight = random_tensor(random, (workload.co, 3, 3, workload.ci), workload.weight)
    exact = convolve(workload, image, weight)
    check(
        lambda epilogue: build_conv_winograd(workload, epilogue, machine(isa), tile),
        isa, [image, weight], exact, recipe, 9 * workload.ci,
    )  # fmt: skip


@pytest.mark.parametrize("codes", [(255, 63), (255, -64), (0, -64)])
def test_operands_at_their_limits_stay_exact(codes):
    """The largest transformed operands: signs alternate as in B and G."""
    workload = Conv2d(1, 6, 6, 512, 16, 3, 3, **SAME, **CODES, pad_code=255)
    signs = np.add.outer(np.arange(6), np.arange(6)) % 2
    image = np.where(signs[None, :, :, None], codes[0], 255 - codes[0])
    image = np.broadcast_to(image, (1, 6, 6, 512)).astype(np.uint8)
    for weight in (np.full((16, 3, 3, 512), codes[1]), np.where(
            np.add.outer(np.arange(3), np.arange(3))[None, :, :, None] % 2,
            codes[1], -64).repeat(512, -1).repeat(16, 0),
            np.sign(codes[1]) * np.tile([127, 1], (16, 3, 3, 256))):  # fmt: skip
        kernel = build_conv_winograd(workload, Epilogue("int32", "int32"), machine("avx2"))
        output = np.zeros(workload.output_shape, np.int32)
        actual = run(kernel, "avx2", [image, kernel.pack(weight.astype(np.int8))], output)
        np.testing.assert_array_equal(actual, convolve(workload, image, weight))


def test_the_transforms_of_the_paper_in_numpy():
    """Y = A' [G g G' . B' d B] A of a single square, with matrices written out as in the paper."""
    random = np.random.default_rng(3)
    d, g = random.normal(size=(4, 4)), random.normal(size=(3, 3)).astype(np.float32)
    b = np.array([[1, 0, 0, 0], [0, 1, -1, 1], [-1, 1, 1, 0], [0, 0, 0, -1]])
    a = np.array([[1, 0], [1, 1], [1, -1], [0, -1]])
    u = winograd.transform_weight(g.reshape(1, 3, 3, 1), "float32").reshape(4, 4)
    y = a.T @ (u * (b.T @ d @ b)) @ a
    direct = [[(d[i : i + 3, j : j + 3] * g).sum() for j in range(2)] for i in range(2)]
    np.testing.assert_allclose(y, direct, atol=1e-5)


def test_integers_are_transformed_by_twice_the_matrix():
    g = np.random.default_rng(0).integers(-64, 64, (5, 3, 3, 2)).astype(np.int8)
    four = winograd.transform_weight(g, "int16")
    one = winograd.transform_weight(g.astype(np.float32), "float32")
    np.testing.assert_array_equal(four, 4 * one)


@pytest.mark.parametrize(("weight", "most"), [("int8_pairs", 920), ("int8", 913), ("uint8", 458)])
def test_channels_whose_sums_could_overflow_are_not_transformed(weight, most):
    assert winograd.stays_exact("uint8", weight, most)
    assert not winograd.stays_exact("uint8", weight, most + 1)


@pytest.mark.parametrize("changed", [
    {"strides": (2, 2)}, {"dilation": (2, 2)}, {"kw": 5}, {"groups": 2}, {"ci": 40}, {"co": 40},
    {"data": "bfloat16", "weight": "bfloat16"},
], ids=str)  # fmt: skip
def test_what_has_no_transform_is_summed_directly(changed):
    shape = {"n": 1, "h": 14, "w": 14, "ci": 64, "co": 64, "kh": 3, "kw": 3}
    assert transforms(Conv2d(**shape), MACHINES["avx512"])
    if "data" not in changed:
        workload = Conv2d(**{**shape, **changed})
        assert not transforms(workload, MACHINES["avx512"])
        assert all(isinstance(s, Blocking) for s in conv_schedules(workload, MACHINES["avx512"]))


def test_bytes_are_not_transformed_where_one_instruction_multiplies_four():
    workload = Conv2d(1, 14, 14, 64, 64, 3, 3, **SAME, data="uint8", weight="int8")
    assert not transforms(workload, MACHINES["vnni"])


@pytest.mark.parametrize(("isa", "types", "size", "channels", "pays"), [
    ("avx2", CODES, 28, 128, True),
    ("avx2", CODES, 7, 512, False),  # weights in words of 16 bits take longer to read
    ("avx2", {}, 7, 512, True),
    ("vnni", {}, 14, 256, True),
    ("vnni", {}, 7, 512, False),
    ("vnni", {}, 2, 64, False),  # squares of nearly nothing
])  # fmt: skip
def test_a_transform_is_the_first_choice_where_it_pays(isa, types, size, channels, pays):
    workload = Conv2d(1, size, size, channels, channels, 3, 3, **SAME, **types)
    found = conv_schedules(workload, MACHINES[isa])
    assert isinstance(found[0], WinogradTile) == pays
    assert {type(schedule) for schedule in found} == {Blocking, WinogradTile}


def test_bands_of_inputs_stay_in_the_second_level_cache():
    workload = Conv2d(1, 112, 112, 64, 64, 3, 3, **SAME)
    first = winograd_tiles(workload, MACHINES["vnni"])[0]
    assert 2**19 < first.band * first.rows * 16 * 64 * 4 <= 2**20 + first.rows * 16 * 64 * 4


def test_products_of_bytes_are_vpmaddwd_alone():
    workload = Conv2d(1, 14, 14, 64, 64, 3, 3, **SAME, **CODES)
    kernel = build_conv_winograd(workload, Epilogue("int32", "int32"), machine("avx2"))
    assembly = compiled(kernel, "avx2").mod.inspect_source("s")
    assert "vpmaddwd" in assembly
    assert "vpmaddubsw" not in assembly
