"""Transformed convolutions: equal the direct sum, exactly so in integers, and chosen where they
pay."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hago.codegen.blocking import Blocking
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.conv_dense import conv_schedules
from hago.codegen.kernels.conv_winograd import (
    WinogradTile,
    build_conv_winograd,
    transforms,
    winograd_tiles,
)
from hago.codegen.winograd import FOUR, TWO
from hago.codegen.workload import Conv2d, convolve
from hago.hardware.load import load_spec
from hago.lower.select import machine_of
from tests.codegen.isa import MACHINES, compiled, machine, random_tensor, run
from tests.codegen.recipes import PLAIN, recipes
from tests.codegen.test_random_products import check
from tests.codegen.workloads import FEW

PAIRS = {"data": "uint8", "weight": "int8_pairs"}
BYTES = {"data": "uint8", "weight": "int8"}
SAME = {"padding": (1, 1, 1, 1)}
SIZES = st.tuples(st.integers(1, 14), st.integers(1, 4), st.integers(1, 9))
BOTH = pytest.mark.parametrize("transform", [TWO, FOUR], ids=str)


@st.composite
def workloads(draw: st.DrawFn, types: dict[str, str]) -> Conv2d:
    """Any image, padding and batch; channels that fill vectors of 16 lanes or words of 16 bits."""
    h, w = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    sides = [draw(st.integers(max(0, 3 - size) if i == 0 else 0, 3))
             for size in (h, w) for i in range(2)]  # fmt: skip
    coded = {"pad_code": draw(st.sampled_from([0, 7, 255]))} if types else {}
    return Conv2d(
        draw(st.integers(1, 2)), h, w, 32 * draw(st.integers(1, 3)), 16 * draw(st.integers(1, 5)),
        3, 3, padding=(sides[0], sides[2], sides[1], sides[3]), **types, **coded,
    )  # fmt: skip


@BOTH
@pytest.mark.parametrize(
    ("isa", "types"),
    [("vnni", BYTES), ("avx2", PAIRS), ("avx512", PAIRS), ("avx512", BYTES)],
    ids=lambda value: value if isinstance(value, str) else value["weight"],
)
@FEW
@given(data=st.data(), size=SIZES, recipe=recipes(PLAIN))
def test_any_transformed_convolution_of_codes_equals_the_direct_sum(
    isa, types, transform, data, size, recipe
):
    workload = data.draw(workloads(types))
    assert transform in transforms(workload, machine(isa))
    _equals_the_direct_sum(workload, isa, WinogradTile(transform, *size), recipe)


@pytest.mark.parametrize("isa", MACHINES)
@FEW
@given(data=st.data(), size=SIZES, recipe=recipes(PLAIN))
def test_any_transformed_convolution_of_floats_equals_the_direct_sum(isa, data, size, recipe):
    workload = data.draw(workloads({}))
    assert transforms(workload, machine(isa)) == (TWO,)
    _equals_the_direct_sum(workload, isa, WinogradTile(TWO, *size), recipe)


def _equals_the_direct_sum(workload, isa, tile, recipe):
    random = np.random.default_rng(0)
    image = random_tensor(random, (workload.n, workload.h, workload.w, workload.ci), workload.data)
    weight = random_tensor(random, (workload.co, 3, 3, workload.ci), workload.weight)
    exact = convolve(workload, image, weight)
    check(
        lambda epilogue: build_conv_winograd(workload, epilogue, machine(isa), tile),
        isa, [image, weight], exact, recipe, 9 * workload.ci,
    )  # fmt: skip


def extremes(code, types, signs):
    """Weights [16, 3, 3, 512] as large as they may be, of one sign and of alternating ones."""
    if types is BYTES:
        alike = np.full((16, 3, 3, 512), code)
    else:
        alike = np.sign(code) * np.tile([127, 1], (16, 3, 3, 256))
    low = -128 if types is BYTES else -64
    high = 127 if types is BYTES else 63
    return alike, np.where(signs[None, :3, :3, None], high, low).repeat(512, -1).repeat(16, 0)


@BOTH
@pytest.mark.parametrize("codes", [(255, 127), (255, -128), (0, -128), (0, 127)])
@pytest.mark.parametrize(("isa", "types"), [("avx2", PAIRS), ("vnni", BYTES)], ids=["avx2", "vnni"])
def test_operands_at_their_limits_stay_exact(isa, types, codes, transform):
    """The largest transformed operands: signs alternate as in B and G."""
    workload = Conv2d(1, 8, 8, 512, 16, 3, 3, **SAME, **types, pad_code=255)
    signs = np.add.outer(np.arange(8), np.arange(8)) % 2
    image = np.where(signs[None, :, :, None], codes[0], 255 - codes[0])
    image = np.broadcast_to(image, (1, 8, 8, 512)).astype(np.uint8)
    tile = winograd_tiles(workload, machine(isa), transform)[0]
    for weight in extremes(codes[1], types, signs):
        kernel = build_conv_winograd(workload, Epilogue("int32", "int32"), machine(isa), tile)
        output = np.zeros(workload.output_shape, np.int32)
        actual = run(kernel, isa, [image, kernel.pack(weight.astype(np.int8))], output)
        np.testing.assert_array_equal(actual, convolve(workload, image, weight))


@pytest.mark.parametrize(("isa", "types"), [("avx2", PAIRS), ("vnni", BYTES)], ids=["avx2", "vnni"])
def test_sums_that_wrap_on_the_way_are_exact_at_its_end(isa, types):
    """A flank of the image meets the same flank in the weights: sums of F(4x4) need 33 bits."""
    workload = Conv2d(1, 4, 4, 512, 16, 3, 3, **SAME, **types)
    image = np.zeros((1, 4, 4, 512), np.uint8)
    image[:, 1, 1] = image[:, 3, 3] = 255
    weight = np.zeros((16, 3, 3, 512), np.int8)
    weight[:, 0, 0] = np.tile([127, 1], 256) if types is PAIRS else 127
    padded = np.pad(image[0].astype(np.int64), ((1, 1), (1, 1), (0, 0)))
    inputs = np.einsum("py,yxi,qx->pqi", FOUR.b, padded, FOUR.b)
    weights = FOUR.of_weight(weight, "int16").reshape(16, 6, 6, 512).astype(np.int64)
    assert np.abs(np.einsum("pqi,opqi->opq", inputs, weights)).max() > 2**31
    tile = winograd_tiles(workload, machine(isa), FOUR)[0]
    kernel = build_conv_winograd(workload, Epilogue("int32", "int32"), machine(isa), tile)
    output = np.zeros(workload.output_shape, np.int32)
    actual = run(kernel, isa, [image, kernel.pack(weight)], output)
    np.testing.assert_array_equal(actual, convolve(workload, image, weight))


def test_the_transforms_of_the_paper_in_numpy():
    """Y = A' [G g G' . B' d B] A of a single square, with matrices written out as in the paper."""
    random = np.random.default_rng(3)
    d, g = random.normal(size=(4, 4)), random.normal(size=(3, 3)).astype(np.float32)
    b = np.array([[1, 0, 0, 0], [0, 1, -1, 1], [-1, 1, 1, 0], [0, 0, 0, -1]])
    a = np.array([[1, 0], [1, 1], [1, -1], [0, -1]])
    u = TWO.of_weight(g.reshape(1, 3, 3, 1), "float32").reshape(4, 4)
    y = a.T @ (u * (b.T @ d @ b)) @ a
    direct = [[(d[i : i + 3, j : j + 3] * g).sum() for j in range(2)] for i in range(2)]
    np.testing.assert_allclose(y, direct, atol=1e-5)


def test_the_matrices_of_four_outputs_evaluate_polynomials_at_six_points():
    """Toom and Cook: rows of G are values at a point a/b, rows of B' the product of all x - a/b but
    the point's own, in integers."""
    points = [(0, 1), (2, 1), (1, 1), (-1, 1), (-1, 2), (1, 0)]
    for number, (a, b) in enumerate(points):
        value = np.array([b * b, a * b, a * a])
        scales = np.array(FOUR.g[number])[value != 0] / value[value != 0]
        assert len(set(scales)) == 1
        others = [[-c, d] for c, d in points if (c, d) != (a, b)]
        product = reduce(np.polynomial.polynomial.polymul, others)
        row = np.array(FOUR.b[number])
        assert np.array_equal(row[: len(product)], product) or np.array_equal(
            row[: len(product)], -product
        )


@BOTH
def test_integers_are_transformed_by_a_multiple_of_the_matrix(transform):
    g = np.random.default_rng(0).integers(-64, 64, (5, 3, 3, 2)).astype(np.int8)
    many = transform.of_weight(g, "int16")
    one = transform.of_weight(g.astype(np.float32), "float32")
    np.testing.assert_allclose(many, transform.factor**2 * one, rtol=1e-5)


@BOTH
@pytest.mark.parametrize(("weight", "most"), [("int8_pairs", 1841), ("int8", 1827)])
def test_channels_whose_sums_could_overflow_are_not_transformed(weight, most, transform):
    """The sum itself, four times: all others may wrap."""
    assert transform.stays_exact("uint8", weight, most)
    assert not transform.stays_exact("uint8", weight, most + 1)


def test_weights_that_words_do_not_hold_are_not_transformed():
    assert TWO.stays_exact("uint8", "uint8", 917)
    assert not TWO.stays_exact("uint8", "uint8", 918)
    assert not FOUR.stays_exact("uint8", "uint8", 1)


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


def test_four_bytes_at_once_are_faster_than_four_outputs():
    """VPDPBUSD multiplies twice as many bytes as VPDPWSSD words: F(2x2) wins nothing."""
    workload = Conv2d(1, 28, 28, 128, 128, 3, 3, **SAME, **BYTES)
    assert transforms(workload, MACHINES["vnni"]) == (FOUR, TWO)
    found = [s.transform for s in conv_schedules(workload, MACHINES["vnni"])[:2]]
    assert found == [FOUR, FOUR]


@pytest.mark.parametrize(("isa", "types", "size", "channels", "pays"), [
    ("avx2", PAIRS, 28, 128, True),
    ("avx2", PAIRS, 7, 512, False),  # weights in words of 16 bits take longer to read
    ("vnni", BYTES, 28, 128, True),
    ("vnni", BYTES, 14, 256, False),
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


def test_where_products_take_a_cycle_more_layers_are_transformed():
    """Zen 4: a product of vectors takes twice as long as on Intel's units, a transform as long."""
    workload = Conv2d(1, 14, 14, 256, 256, 3, 3, **SAME, **BYTES)
    zen4 = machine_of(load_spec("x86-zen4"))
    assert (zen4.cycles, machine_of(load_spec("x86-vnni")).cycles) == (1.0, 0.5)
    assert conv_schedules(workload, zen4)[0].transform is FOUR
    late = Conv2d(1, 7, 7, 512, 512, 3, 3, **SAME, **BYTES)
    assert isinstance(conv_schedules(late, zen4)[0], Blocking)


def test_bands_of_inputs_stay_in_the_second_level_cache():
    workload = Conv2d(1, 112, 112, 64, 64, 3, 3, **SAME)
    first = winograd_tiles(workload, MACHINES["vnni"], TWO)[0]
    assert 2**19 < first.band * first.rows * 16 * 64 * 4 <= 2**20 + first.rows * 16 * 64 * 4


def test_products_of_bytes_are_vpmaddwd_alone():
    workload = Conv2d(1, 14, 14, 64, 64, 3, 3, **SAME, **PAIRS)
    tile = winograd_tiles(workload, machine("avx2"), FOUR)[0]
    kernel = build_conv_winograd(workload, Epilogue("int32", "int32"), machine("avx2"), tile)
    assembly = compiled(kernel, "avx2").mod.inspect_source("s")
    assert "vpmaddwd" in assembly
    assert "vpmaddubsw" not in assembly
