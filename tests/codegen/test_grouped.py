"""Products with weights of 4 bits, and with a scale for each group, equal their numpy meaning."""

import numpy as np
import pytest

from hago.codegen.epilogue import Epilogue, Step
from hago.codegen.kernels.grouped_matmul import build_grouped_matmul, multiplies_groups
from hago.codegen.kernels.matmul_nibbles import FEW_ROWS, build_matmul_nibbles, reads_nibbles
from hago.codegen.workload import GroupedMatmul, Matmul
from tests.codegen.isa import MACHINES, compiled, machine, run

NIBBLES = ["vnni", "avx2"]


def operands(work, largest=8):
    """uint8 data and codes, the extremes over-represented."""
    random = np.random.default_rng(0)
    data = random.choice([0, 255, *range(0, 256, 7)], (work.m, work.k)).astype(np.uint8)
    codes = random.choice([-largest, largest - 1, 0, 1, -3], (work.k, work.n)).astype(np.int8)
    return data, codes


def exact_sums(data, codes):
    return data.astype(np.int64) @ codes.astype(np.int64)


@pytest.mark.parametrize("isa", NIBBLES)
@pytest.mark.parametrize("m", [1, 2, 5, FEW_ROWS])
@pytest.mark.parametrize("n", [16, 64, 65, 130])
def test_a_few_rows_times_packed_weights(isa, m, n):
    work = Matmul(m, n, 104, "uint8", "int4")
    assert reads_nibbles(work, machine(isa))
    data, codes = operands(work)
    kernel = build_matmul_nibbles(work, Epilogue("int32", "int32"), MACHINES[isa])
    lanes = MACHINES[isa].lanes
    assert kernel.pack(codes).nbytes == -(-n // lanes) * lanes * work.k // 2
    actual = run(kernel, isa, [data, kernel.pack(codes)], np.zeros((m, n), np.int32))
    assert np.array_equal(actual, exact_sums(data, codes))


@pytest.mark.parametrize(("isa", "most"), [("vnni", 65792), ("avx2", 1052688)])
def test_worst_case_sums_do_not_overflow(isa, most):
    work = Matmul(1, 16, most, "uint8", "int4")
    assert reads_nibbles(work, machine(isa))
    assert not reads_nibbles(Matmul(1, 16, most + 8, "uint8", "int4"), MACHINES[isa])
    data, codes = np.full((1, work.k), 255, np.uint8), np.full((work.k, 16), -8, np.int8)
    kernel = build_matmul_nibbles(work, Epilogue("int32", "int32"), MACHINES[isa])
    actual = run(kernel, isa, [data, kernel.pack(codes)], np.zeros((1, 16), np.int32))
    assert np.array_equal(actual, exact_sums(data, codes))


def test_sums_of_16_bits_are_joined_before_they_overflow():
    """Eight pairs of the largest products, of either sign, are within 136 of the end."""
    for code in (-8, 7):
        work = Matmul(1, 8, 64, "uint8", "int4")
        data, codes = np.full((1, work.k), 255, np.uint8), np.full((work.k, 8), code, np.int8)
        kernel = build_matmul_nibbles(work, Epilogue("int32", "int32"), machine("avx2"))
        actual = run(kernel, "avx2", [data, kernel.pack(codes)], np.zeros((1, 8), np.int32))
        assert np.array_equal(actual, exact_sums(data, codes))


@pytest.mark.parametrize(
    ("isa", "work"),
    [
        ("vnni", Matmul(FEW_ROWS + 1, 16, 64, "uint8", "int4")),
        ("vnni", Matmul(1, 16, 64, "uint8", "int8_pairs")),
        ("vnni", Matmul(1, 16, 60, "uint8", "int4")),
        ("avx2", Matmul(1, 16, 60, "uint8", "int4")),
        ("avx512", Matmul(1, 16, 64, "uint8", "int4")),  # it has nothing but products of 16 bits
    ],
)
def test_others_are_unpacked_before(isa, work):
    assert not reads_nibbles(work, MACHINES[isa])


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("weight", ["int4", "int8"])
@pytest.mark.parametrize("m", [1, 3, 37])
@pytest.mark.parametrize(("n", "group"), [(64, 32), (50, 64), (16, 128), (144, 32)])
def test_groups_with_their_scales(isa, weight, m, n, group):
    largest = 8 if weight == "int4" else 64  # proven to fit pairs that saturate
    proven = "int8_pairs" if weight == "int8" else weight
    work = GroupedMatmul(m, n, 3 * group, group, "uint8", proven)
    assert multiplies_groups(work, machine(isa))
    data, codes = operands(work, largest)
    scales = np.random.default_rng(1).uniform(0.5, 2, (3, n)).astype(np.float32)
    kernel = build_grouped_matmul(work, Epilogue("float32", "float32"), MACHINES[isa])
    constants = [kernel.pack_scales(scales), kernel.pack(codes.reshape(3, group, n))]
    actual = run(kernel, isa, [data, *constants], np.zeros((m, n), np.float32))
    sums = [exact_sums(data[:, g * group :][:, :group], codes[g * group :][:group]) * scales[g]
            for g in range(3)]  # fmt: skip
    # Two products and three additions of float32, each half a unit of the largest partial sum.
    bound = 5 * np.finfo(np.float32).eps * np.abs(sums).sum(axis=0).max()
    assert np.abs(actual - np.sum(sums, axis=0)).max() <= bound


@pytest.mark.parametrize("isa", MACHINES)
def test_an_epilogue_gets_float32(isa):
    work = GroupedMatmul(2, 16, 64, 32, "uint8", "int4")
    data, codes = operands(work)
    relu = Epilogue("float32", "float32", (), (Step("relu", (0,)),))
    kernel = build_grouped_matmul(work, relu, machine(isa))
    scales = np.ones((2, 16), np.float32)
    memory = [data, kernel.pack_scales(scales), kernel.pack(codes)]
    actual = run(kernel, isa, memory, np.zeros((2, 16), np.float32))
    assert np.array_equal(actual, np.maximum(exact_sums(data, codes), 0))


@pytest.mark.parametrize("isa", NIBBLES)
def test_packed_weights_reach_the_dot_products_in_registers(isa):
    """Shifted, masked and moved by 8, and nothing else: no shuffles, no sign extension."""
    work = GroupedMatmul(1, 64, 256, 128, "uint8", "int4")
    kernel = build_grouped_matmul(work, Epilogue("float32", "float32"), MACHINES[isa])
    code = compiled(kernel, isa).mod.inspect_source("s")
    assert code.count({"vnni": "vpdpbusd", "avx2": "vpmaddubsw"}[isa]) >= 8
    assert not any(word in code for word in ("vpgather", "vpextrb", "vpmovsxbd", "vpinsrb"))
