"""How products are cut into tiles, which are cut at all, and the code that comes of it."""

import re

import pytest

from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.amx import find_tile
from hago.codegen.kernels.cut_amx import Cut, choose_cut, cycles
from hago.codegen.kernels.product import Product
from hago.codegen.workload import BatchMatmul, Conv2d, Machine, Matmul
from hago.hardware.load import load_spec
from hago.lower.select import find_template, machine_of
from tests.codegen.amx import AMX, build, compiled

INT8 = {"data": "uint8", "weight": "int8"}
LAYERS = {
    "3x3 of 64 channels": (Conv2d(1, 56, 56, 64, 64, 3, 3, padding=(1, 1, 1, 1), **INT8), True),
    "7x7 stem of 3 channels": (Conv2d(1, 224, 224, 3, 64, 7, 7, (2, 2), **INT8), True),
    "1x1 of 16 channels": (Conv2d(1, 112, 112, 16, 96, 1, 1, **INT8), True),
    "3x3 of 4 channels a group": (Conv2d(1, 28, 28, 16, 16, 3, 3, groups=4, **INT8), False),
    "a classifier's single row": (Matmul(1, 1000, 1280, **INT8), False),
    "a sentence": (Matmul(128, 384, 384, **INT8), True),
    "attention": (BatchMatmul(12, 128, 128, 32, **INT8), True),
    "bfloat16": (Matmul(128, 384, 384, "bfloat16", "bfloat16"), True),
    "float32": (Matmul(128, 384, 384), False),
}  # fmt: skip


def product(width, run, channels, taps=1, outer=1, pitch=None):
    def nowhere(_):
        raise AssertionError("the cut of a product does not depend on addresses")

    return Product(outer, width, nowhere, pitch or run, taps, nowhere, run, channels)


def tile(name="tdpbusd"):
    types = ("bfloat16", "bfloat16") if name == "tdpbf16ps" else ("uint8", "int8")
    return find_tile(Matmul(1, 1, 1, *types), AMX)


@pytest.mark.parametrize(
    ("width", "rows", "strips"), [(1, 1, 1), (16, 16, 1), (17, 9, 2), (49, 13, 4), (56, 14, 4)]
)
def test_rows_are_shared_out_evenly(width, rows, strips):
    cut = choose_cut(product(width, 64, 64), tile())
    assert (cut.rows, cut.strips) == (rows, strips)
    assert (strips - 1) * rows < width <= strips * rows


@pytest.mark.parametrize(
    ("run", "name", "step_bytes", "steps"),
    [(64, "tdpbusd", 64, 1), (96, "tdpbusd", 48, 2), (9, "tdpbusd", 12, 1),
     (197, "tdpbusd", 52, 4), (64, "tdpbf16ps", 64, 2), (33, "tdpbf16ps", 36, 2)],
)  # fmt: skip
def test_a_run_is_shared_out_in_whole_words(run, name, step_bytes, steps):
    cut = choose_cut(product(32, run, 64), tile(name))
    assert (cut.step_bytes, cut.steps) == (step_bytes, steps)


def test_weights_from_afar_are_read_for_four_strips_at_once():
    near, far = (choose_cut(product(14, run, 256, taps=3, outer=14), tile()) for run in (64, 2048))
    assert (near.block_rows, near.block_columns) == (2, 2)
    assert (far.block_rows, far.block_columns) == (4, 1)


def test_a_block_that_needs_more_tiles_than_there_are_is_refused():
    with pytest.raises(ValueError, match="4 tiles of C"):
        Cut(16, 1, 1, 64, block_rows=4, block_columns=2)


def test_a_large_product_is_estimated_near_the_peak_and_never_above_it():
    work = product(28, 384, 128, taps=3, outer=28, pitch=128)
    peak = 28 * 28 * 384 * 3 * 128 / 1024  # 16 x 16 x 64 products in 16 cycles
    assert peak <= cycles(work, tile(), choose_cut(work, tile())) < 1.25 * peak


@pytest.mark.parametrize("name", LAYERS)
def test_tiles_are_chosen_where_they_are_filled(name):
    workload, is_tiled = LAYERS[name]
    template = find_template(workload, machine_of(load_spec("x86-amx")))
    assert template.build.__name__.endswith("_amx") == is_tiled


def test_a_machine_without_tiles_gets_vectors():
    workload, _ = LAYERS["3x3 of 64 channels"]
    assert find_tile(workload, Machine(64, frozenset({"vpdpbusd"}))) is None


@pytest.mark.parametrize(
    ("name", "loads_of_four_products"), [("3x3 of 64 channels", 4), ("a sentence", 5)]
)
def test_a_step_is_four_products_with_their_loads_and_nothing_slow(name, loads_of_four_products):
    """Four products take 64 cycles, 80 rows of loads 40, and a processor of six instructions a
    cycle has room for the addresses: at most 20 instructions for each product, all told."""
    workload, _ = LAYERS[name]
    text = compiled(build(workload, Epilogue("int32", "int32"))).mod.inspect_source("s")
    start = text.index("ldtilecfg")
    loop = text[start : text.index("tilestored", start)]
    assert loop.count("tileloadd") * 4 == loop.count("tdpbusd") * loads_of_four_products
    addressing = re.findall(r"(?m)^\t(?:lea|add|imul|movslq|shl|shr|sub)\S*", loop)
    assert len(addressing) < 20 * loop.count("tdpbusd")
    for slow in ("vpgather", "vpextrb", "vpinsrb"):
        assert slow not in text, slow
