"""Weights of 4 bits and weights in groups on Arm, run by QEMU."""

import numpy as np
import pytest

from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.matmul_nibbles import reads_nibbles
from hago.codegen.workload import GroupedMatmul, Matmul
from hago.hardware.load import load_spec
from hago.lower.select import build_kernel, machine_of
from tests.arm.board import assembly
from tests.arm.test_products import BYTES, run
from tests.codegen.isa import random_tensor


def operands(m, n, k):
    random = np.random.default_rng(0)
    return random_tensor(random, (m, k), "int8"), random.integers(-8, 8, (k, n)).astype(np.int8)


@pytest.mark.parametrize("m", [1, 5])
def test_a_few_rows_times_packed_weights(m, tmp_path):
    work = Matmul(m, 33, 72, data="int8", weight="int4")
    assert reads_nibbles(work, machine_of(load_spec("arm-dotprod")))
    data, codes = operands(m, 33, 72)
    plain = Epilogue("int32", "int32")
    actual = run("arm-dotprod", work, plain, [data], codes, [], (m, 33), tmp_path)
    assert np.array_equal(actual, data.astype(np.int32) @ codes.astype(np.int32))


@pytest.mark.parametrize("hardware", ["arm-i8mm", "arm-neon"])
def test_other_instructions_take_unpacked_weights(hardware):
    work = Matmul(1, 33, 72, data="int8", weight="int4")
    assert not reads_nibbles(work, machine_of(load_spec(hardware)))


@pytest.mark.parametrize("hardware", BYTES)
@pytest.mark.parametrize("m", [1, 9])
def test_groups_with_their_scales(hardware, m, tmp_path):
    n, group = 30, 32
    # Plain Arm is told that pairs of products fit 16 bits, as of all codes of 4 bits.
    work = GroupedMatmul(m, n, 3 * group, group, data="int8", weight="int4")
    data, codes = operands(m, n, 3 * group)
    scales = np.random.default_rng(1).uniform(0.5, 2, (3, n)).astype(np.float32)
    plain = Epilogue("float32", "float32")
    shaped = codes.reshape(3, group, n)
    actual = run(hardware, work, plain, [data, scales], shaped, [], (m, n), tmp_path)
    wide = data.astype(np.int64).reshape(m, 3, group).transpose(1, 0, 2)
    sums = np.matmul(wide, shaped.astype(np.int64)) * scales[:, None]
    # Two products and three additions of float32, each half a unit of the largest partial sum.
    bound = 5 * np.finfo(np.float32).eps * np.abs(sums).sum(axis=0).max()
    assert np.abs(actual - sums.sum(axis=0)).max() <= bound


def test_packed_weights_reach_sdot_by_a_shift_and_a_mask():
    work = GroupedMatmul(1, 16, 256, 128, data="int8", weight="int4")
    machine = machine_of(load_spec("arm-dotprod"))
    kernel = build_kernel(work, Epilogue("float32", "float32"), machine)
    code = assembly(kernel, "arm-dotprod")
    loop = code[: code.rindex("sdot")]
    assert code.count("sdot") >= 2
    assert "shl" in loop
    assert not any(word in loop for word in ("sshll", "sxtl", "ins\t", "umov"))
