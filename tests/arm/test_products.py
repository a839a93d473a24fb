"""Kernels for Arm, run by QEMU, give what numpy gives: to the bit where they are of integers."""

from dataclasses import replace

import numpy as np
import pytest

from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import BatchMatmul, Conv2d, Matmul, convolve
from hago.hardware.load import load_spec
from hago.lower.select import build_kernel, machine_of
from hago.scheme import BFLOAT16_ARRAY
from tests.arm.board import assembly, program
from tests.codegen.isa import random_tensor
from tests.codegen.recipes import fixed_point_epilogue, fixed_point_operands

INT8 = {"data": "int8", "weight": "int8"}
BYTES = ("arm-dotprod", "arm-i8mm", "arm-neon")
CONVOLUTIONS = {
    "3x3": Conv2d(1, 9, 7, 16, 24, 3, 3, padding=(1, 1, 1, 1), pad_code=-5, **INT8),
    "odd channels": Conv2d(2, 6, 5, 7, 13, 3, 2, strides=(2, 1), padding=(0, 1, 2, 0), **INT8),
    "1x1": Conv2d(1, 5, 5, 40, 20, 1, 1, **INT8),
    "dilated": Conv2d(1, 9, 9, 12, 8, 3, 3, padding=(2, 2, 2, 2), dilation=(2, 2), **INT8),
    "grouped": Conv2d(1, 5, 5, 24, 18, 3, 3, padding=(1, 1, 1, 1), groups=3, **INT8),
    "depthwise": Conv2d(1, 9, 8, 48, 48, 3, 3, padding=(1, 1, 1, 1), groups=48, pad_code=-128,
                        **INT8),
    "depthwise 5x5 /2": Conv2d(1, 9, 8, 21, 21, 5, 5, strides=(2, 2), padding=(2, 2, 1, 1),
                               groups=21, pad_code=7, **INT8),
    "depthwise, many channels": Conv2d(1, 4, 4, 80, 80, 3, 3, groups=80, **INT8),
}  # fmt: skip


def run(hardware, work, epilogue, inputs, weight, operands, shape, folder):
    """The kernel's output under QEMU; of weights in groups, scales are the last of ``inputs``."""
    kernel = build_kernel(work, epilogue, machine_of(load_spec(hardware)))
    packed = [] if kernel.pack is None else [kernel.pack(weight)]
    if kernel.pack_scales is not None:
        *inputs, scales = inputs
        packed = [kernel.pack_scales(scales), *packed]
    built = program(kernel, hardware, folder)
    return built.run([*inputs, *packed, *operands], np.zeros(shape, epilogue.dtype))


@pytest.mark.parametrize("hardware", BYTES)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_codes(hardware, name, tmp_path):
    work, random = CONVOLUTIONS[name], np.random.default_rng(0)
    data = random_tensor(random, (work.n, work.h, work.w, work.ci), "int8")
    shape = (work.co, work.kh, work.kw, work.ci // work.groups)
    weight = random_tensor(random, shape, "int8")
    operands = fixed_point_operands(work.co, random)
    epilogue = fixed_point_epilogue(work.co)
    actual = run(hardware, work, epilogue, [data], weight, operands, work.output_shape, tmp_path)
    expected = epilogue.evaluate(convolve(work, data, weight), operands)
    assert len(np.unique(expected)) > 20
    assert np.array_equal(actual, expected)


@pytest.mark.parametrize("hardware", BYTES)
@pytest.mark.parametrize("size", [(1, 10, 33), (7, 13, 37), (16, 32, 64)])
def test_products_of_codes(hardware, size, tmp_path):
    (m, n, k), random = size, np.random.default_rng(1)
    work = Matmul(m, n, k, **INT8)
    data, weight = (random_tensor(random, shape, "int8") for shape in ((m, k), (k, n)))
    operands, epilogue = fixed_point_operands(n, random), fixed_point_epilogue(n)
    actual = run(hardware, work, epilogue, [data], weight, operands, (m, n), tmp_path)
    total = data.astype(np.int32) @ weight.astype(np.int32)
    assert np.array_equal(actual, epilogue.evaluate(total, operands))


@pytest.mark.parametrize("size", [(7, 13, 37), (16, 32, 64)])
def test_pairs_of_byte_products_meet_in_16_bits(size, tmp_path):
    """The worst operands: every product of a pair is -128 * -127."""
    m, n, k = size
    work = Matmul(m, n, k, data="int8", weight="int8_pairs")
    data, weight = np.full((m, k), -128, np.int8), np.full((k, n), -127, np.int8)
    weight[:, ::2] = 127
    epilogue = Epilogue("int32", "int32")
    actual = run("arm-neon", work, epilogue, [data], weight, [], (m, n), tmp_path)
    assert np.array_equal(actual, data.astype(np.int32) @ weight.astype(np.int32))


@pytest.mark.parametrize("hardware", BYTES)
def test_products_of_activations(hardware, tmp_path):
    work, random = BatchMatmul(2, 9, 11, 21, **INT8), np.random.default_rng(2)
    left, right = (random_tensor(random, shape, "int8") for shape in ((2, 9, 21), (2, 21, 11)))
    epilogue = Epilogue("int32", "int32")
    actual = run(hardware, work, epilogue, [left, right], None, [], (2, 9, 11), tmp_path)
    assert np.array_equal(actual, left.astype(np.int32) @ right.astype(np.int32))


def test_unsigned_codes_have_their_own_instruction(tmp_path):
    """USMMLA and USDOT are not named by a machine that has SMMLA: products of other codes than its
    own are refused, not computed wrongly."""
    work = Matmul(4, 4, 8, data="uint8", weight="int8")
    with pytest.raises(AssertionError):
        build_kernel(work, Epilogue("int32", "int32"), machine_of(load_spec("arm-i8mm")))


UNSIGNED = {
    "udot": ("uint8", "uint8"), "usdot": ("uint8", "int8"),
    "ummla": ("uint8", "uint8"), "usmmla": ("uint8", "int8"),
}  # fmt: skip


@pytest.mark.parametrize("instruction", UNSIGNED)
@pytest.mark.parametrize("size", [(1, 10, 33), (7, 13, 37), (16, 32, 64)])
def test_unsigned_codes_on_a_machine_of_ones_own(instruction, size, tmp_path):
    (m, n, k), random = size, np.random.default_rng(4)
    types = UNSIGNED[instruction]
    work = Matmul(m, n, k, *types)
    data, weight = random_tensor(random, (m, k), types[0]), random_tensor(random, (k, n), types[1])
    machine = replace(machine_of(load_spec("arm-i8mm")), instructions=frozenset({instruction}))
    kernel = build_kernel(work, Epilogue("int32", "int32"), machine)
    built = program(kernel, "arm-i8mm", tmp_path)
    actual = built.run([data, kernel.pack(weight)], np.zeros((m, n), np.int32))
    assert np.array_equal(actual, data.astype(np.int32) @ weight.astype(np.int32))
    # SUDOT is USDOT with an element of the signed operand.
    names = {instruction, instruction.replace("usdot", "sudot")}
    assert any(f"\t{name}\t" in assembly(kernel, "arm-i8mm") for name in names)


@pytest.mark.parametrize("name", ["3x3", "odd channels", "1x1", "depthwise"])
def test_convolutions_of_floats(name, tmp_path):
    codes, random = CONVOLUTIONS[name], np.random.default_rng(3)
    work = Conv2d(codes.n, codes.h, codes.w, codes.ci, codes.co, codes.kh, codes.kw,
                  codes.strides, codes.padding, codes.dilation, codes.groups)  # fmt: skip
    data = random_tensor(random, (work.n, work.h, work.w, work.ci), "float32")
    shape = (work.co, work.kh, work.kw, work.ci // work.groups)
    weight = random_tensor(random, shape, "float32")
    epilogue = Epilogue("float32", "float32")
    actual = run("arm-dotprod", work, epilogue, [data], weight, [], work.output_shape, tmp_path)
    terms = np.prod(shape[1:])
    magnitude = convolve(work, np.abs(data), np.abs(weight)).max()
    # Each addition rounds by eps/2 of the partial sum.
    bound = terms * np.finfo(np.float32).eps / 2 * magnitude
    assert np.abs(actual - convolve(work, data, weight)).max() <= bound


@pytest.mark.parametrize("size", [(7, 13, 37), (16, 32, 64)])
def test_products_of_bfloat16(size, tmp_path):
    (m, n, k), random = size, np.random.default_rng(4)
    work = Matmul(m, n, k, data="bfloat16", weight="bfloat16")
    data, weight = (random.normal(size=shape).astype(BFLOAT16_ARRAY) for shape in ((m, k), (k, n)))
    epilogue = Epilogue("float32", "float32")
    actual = run("arm-i8mm", work, epilogue, [data], weight, [], (m, n), tmp_path)
    exact = data.astype(np.float64) @ weight.astype(np.float64)
    magnitude = (np.abs(data.astype(np.float64)) @ np.abs(weight.astype(np.float64))).max()
    # BFMMLA rounds every sum to odd: by at most eps of it.
    assert np.abs(actual - exact).max() <= k * np.finfo(np.float32).eps * magnitude
