"""Products of Hopper's warpgroups, on the CPU that plays it: fragments, descriptors, and order."""

import contextlib
import re
import shutil

import ml_dtypes  # noqa: F401  numpy learns bfloat16 and float8_e4m3fn from it
import numpy as np
import pytest

from hago.codegen.cuda import tile
from hago.codegen.cuda.shell import INCLUDE
from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import BatchMatmul, Conv2d, Matmul
from hago.hardware.load import load_spec
from hago.lower.select import build_kernel, machine_of
from tests.codegen.recipes import Recipe
from tests.cuda.cases import case, inputs_of, meaning, play
from tests.cuda.gpu import program, run, source
from tests.cuda.ptx import instructions, loops, ptx

HOPPER, FLOAT8 = "cuda-sm90a", "float8_e4m3fn"
INT8, E4M3, PAD = {"data": "int8", "weight": "int8"}, {"data": FLOAT8, "weight": FLOAT8}, (1,) * 4
BF16 = {"data": "bfloat16", "weight": "bfloat16"}
TILES = LARGE, WIDE, SQUARE, SMALL = tile.GROUP_TILES
WORKLOADS = {
    "two groups, 128 channels": (LARGE, Matmul(200, 140, 200, **INT8), Recipe(output="int8")),
    "one tile of depth": (SMALL, Matmul(70, 33, 40, **INT8), Recipe(residual="int8")),
    "many tiles of depth": (SQUARE, Matmul(64, 64, 720, **INT8), Recipe(activation="gelu")),
    "unsigned data": (SMALL, Matmul(60, 24, 130, "uint8", "int8"), Recipe(correction=True)),
    "padding is stored, the rest copied": (
        WIDE, Conv2d(1, 12, 13, 32, 72, 3, 3, padding=PAD, pad_code=-5, **INT8), Recipe(),
    ),
    "stem of 3 channels": (
        SMALL, Conv2d(1, 15, 15, 3, 33, 7, 7, (2, 2), (3,) * 4, **INT8), Recipe(output="int8"),
    ),
    "attention": (SQUARE, BatchMatmul(2, 70, 60, 100, **INT8), Recipe()),
    "bfloat16": (SMALL, Matmul(70, 36, 100, **BF16), Recipe()),
}  # fmt: skip


def slack_of(name):
    """float32 sums of 100 products: each addition rounds by eps / 2 of no more than 8."""
    return 8 * 100 * float(np.finfo(np.float32).eps) if name == "bfloat16" else 0.0


@contextlib.contextmanager
def tiles(*shapes):
    """Only these tiles, for products of any size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tile, "GROUP_TILES", shapes)
        patch.setattr(tile, "_BLOCKS", 0)
        patch.setattr(tile, "_MOST_WASTE", np.inf)
        build_kernel.cache_clear()
        yield
        build_kernel.cache_clear()


def is_in_groups(kernel):
    return "IN_GROUPS = 1" in str(kernel.func)


def cases_in_groups():
    """Each of WORKLOADS in its tile."""
    cases = {}
    for name, (shape, workload, recipe) in WORKLOADS.items():
        with tiles(shape):
            cases[name] = case(workload, recipe, HOPPER)
    return cases


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    cases = cases_in_groups()
    return cases, *play(cases, HOPPER, tmp_path_factory.mktemp("cuda"))


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_kernel_equals_its_meaning_in_any_order(played, name):
    cases, built, names = played
    assert is_in_groups(cases[name].kernel)
    for seed in (1, 2, 3):
        cases[name].check(built, names[name], slack_of(name), seed)
        assert built.number("instructions") > 0


ORDERED = Matmul(64, 32, 400, **INT8)
MISTAKES = {
    "stored bytes are not published": (
        "product.cuh", "if constexpr (G::IN_GROUPS) publish_shared();\n      __sync", "__sync",
        "no fence.proxy.async",
    ),
    "a stage is written while it is read": (
        "product.cuh", "STAGES - 1 - G::IN_GROUPS;", "STAGES - 1;", "",  # results differ
    ),
    "sums are read too early": ("product.cuh", "sums.end();", "", "before its products"),
    "zeros are not ordered": ("sums.cuh", "    publish_sums();\n", "", "wgmma.fence"),
    "tiles begin anywhere": (
        "product.cuh", "tiles += -shared_address(shared) % SWIZZLED", "", "does not begin at 512",
    ),
}  # fmt: skip


def check_often(each, built, name):
    for seed in range(1, 9):
        each.check(built, name, 0.0, seed)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_shows(name, tmp_path, monkeypatch):
    header, right, wrong, error = MISTAKES[name]
    shutil.copytree(INCLUDE, tmp_path / "include")
    file = tmp_path / "include" / "hago" / header
    text = file.read_text()
    assert text.count(right) == 1
    file.write_text(text.replace(right, wrong))
    monkeypatch.setattr("tests.cuda.gpu.INCLUDE", tmp_path / "include")
    with tiles(SMALL):
        broken = case(ORDERED, Recipe(), HOPPER)
        built, names = play({"x": broken}, HOPPER, tmp_path)
    with pytest.raises(AssertionError, match=error or None):
        check_often(broken, built, names["x"])


FP8 = {"in groups": (HOPPER, SMALL), "by mma of Ada": ("cuda-sm89", None)}


@pytest.mark.parametrize("name", FP8)
def test_fp8_sums_of_few_bits_join_those_of_float32(name, tmp_path, monkeypatch):
    hardware, shape = FP8[name]
    device, plain = machine_of(load_spec(hardware)), Epilogue("float32", "float32")
    work, random = Matmul(64, 32, 1024, **E4M3), np.random.default_rng(0)
    data, weight = (np.abs(random.normal(size=s)).astype(FLOAT8) for s, _ in inputs_of(work))
    exact, kernels, errors = meaning(work, [data, weight]).astype(np.float64), [], []
    for joined in (128, 0):
        monkeypatch.setattr("hago.codegen.cuda.product._PROMOTED", joined)
        with tiles(*([shape] if shape else [])):
            kernels.append(build_kernel(work, plain, device))
    built = program(source(kernels, hardware), device.capability, tmp_path)
    for number, kernel in enumerate(kernels):
        output = np.zeros(work.output_shape, np.float32)
        run(kernel, built, f"k{number}", [data, kernel.pack(weight), output], seed=1)
        errors.append(np.abs(output - exact).max())
    # Each of four instructions cuts 33 terms and their sum 13 bits behind the largest, which is no
    # more than the sum of 128 products, all positive: a sixteenth of the whole, about.
    groups = (data.reshape(64, 8, 128).astype(np.float64).swapaxes(0, 1)
              @ weight.reshape(8, 128, 32).astype(np.float64))  # fmt: skip
    assert errors[0] <= 4 * 34 * 2.0**-13 * groups.sum(0).max()
    assert errors[0] < errors[1] / 3


def test_warpgroups_multiply_large_products_and_warps_the_others():
    device = machine_of(load_spec(HOPPER))
    plain = Epilogue("int32", "int32")
    found = [build_kernel(Matmul(m, 2048, 512, **INT8), plain, device) for m in (2048, 8)]
    assert [is_in_groups(kernel) for kernel in found] == [True, False]


DEEP = {
    "s32.s8.s8": (Matmul(2048, 2048, 4096, **INT8), 32),
    "f32.e4m3.e4m3": (Conv2d(8, 56, 56, 128, 128, 3, 3, padding=PAD, **E4M3), 32),
    "f32.bf16.bf16": (BatchMatmul(12, 512, 512, 512, **BF16), 16),
}


def test_the_next_tile_is_copied_while_one_is_multiplied():
    device = machine_of(load_spec(HOPPER))
    kernels = [
        build_kernel(work, Epilogue(work.accum, work.accum), device) for work, _ in DEEP.values()
    ]
    for text, (types, (work, k)) in zip(ptx(kernels, HOPPER), DEEP.items(), strict=True):
        name = f"wgmma.mma_async.sync.aligned.m64n128k{k}.{types}"
        inner = max(loops(text), key=lambda loop: instructions(loop)[name])
        found = instructions(inner)
        assert found[name] == 2
        assert found["fence.proxy.async.shared::cta"] == 1
        if not isinstance(work, BatchMatmul):  # whose B is turned in registers
            assert found["cp.async.cg.shared.global"] > 0
            assert re.search(r"wgmma\.wait_group\.sync\.aligned 1", inner)
