"""Rows of bytes become words, and words of codes become bytes again."""

import numpy as np
import pytest
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import store, vector
from hago.codegen.interleave import block_size, interleave
from hago.codegen.kernels.convert import copy_run, fill
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.narrow import narrow
from hago.codegen.workload import Kernel
from tests.codegen.isa import MACHINES, machine, run

INTEGERS = np.array([-(2**31), -70_000, -32_769, -300, -129, -128, -1, 0, 1, 42, 127, 128, 200, 255,
                     256, 32_768, 70_000, 2**31 - 1], np.int32)  # fmt: skip


def words_of(rows, depth):
    """The numpy meaning: row i in bits i * 32 / depth of each word."""
    bits = 32 // depth
    return sum(row.astype(np.uint32) << np.uint32(bits * i) for i, row in enumerate(rows))


def interleaving(count, rows, depth, lanes):
    with kernel("interleave") as builder:
        data, out = arguments("data out", [((rows * count,), "uint8"), ((count,), "uint32")])
        loaded = [T.Bind(vector(data, row * count, count)) for row in range(rows)]
        words = interleave(loaded, depth, lanes)
        size = count // len(words)
        for i, word in enumerate(words):
            store(out, word, i * size, size)
    return Kernel(builder.get())


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize("whole", [True, False])
def test_rows_are_interleaved(whole, depth, isa):
    lanes = machine(isa).lanes
    for rows in range(1, depth + 1):
        for count in [block_size(depth, lanes, rows)] if whole else [1, 2, 4, 8, lanes]:
            data = np.random.default_rng(rows).integers(0, 256, (rows, count)).astype(np.uint8)
            data[:, 0] = 255
            built = interleaving(count, rows, depth, lanes)
            actual = run(built, isa, [data.reshape(-1)], np.zeros(count, np.uint32))
            np.testing.assert_array_equal(actual, words_of(data, depth))


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("zero_point", [0, 1, 127])
def test_codes_are_packed_in_order_and_saturate(zero_point, count, dtype, isa):
    lanes = machine(isa).lanes
    codes = np.random.default_rng(count).choice(INTEGERS, count * lanes)
    with kernel("narrow") as builder:
        data, out = arguments("data out", [(codes.shape, "int32"), (codes.shape, dtype)])
        vectors = [T.Bind(vector(data, i * lanes, lanes)) for i in range(count)]
        store(out, narrow(vectors, zero_point, dtype, lanes), 0, count * lanes)
    actual = run(Kernel(builder.get()), isa, [codes], np.zeros(codes.shape, dtype))
    bounds = np.iinfo(dtype)
    exact = np.clip(codes.astype(np.int64) + zero_point, bounds.min, bounds.max)
    np.testing.assert_array_equal(actual, exact)


@pytest.mark.parametrize("dtype", ["int16", "float32", "uint8"])
@pytest.mark.parametrize("length", [1, 31, 32, 33, 71])
def test_a_run_is_copied_and_the_rest_filled(length, dtype):
    data = np.random.default_rng(0).integers(0, 256, length).astype(np.uint8)
    with kernel("copy") as builder:
        source, out = arguments("data out", [((length,), "uint8"), ((length + 40,), dtype)])
        copy_run(out, tir.const(0, "int32"), source, tir.const(0, "int32"), length, dtype)
        fill(out, tir.const(length, "int32"), 40, 9, dtype)
    actual = run(Kernel(builder.get()), "avx2", [data], np.zeros(length + 40, dtype))
    np.testing.assert_array_equal(actual, np.concatenate([data, np.full(40, 9)]))
