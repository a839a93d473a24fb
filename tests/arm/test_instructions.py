"""How many instructions kernels for Arm execute: the cost where there is no Arm to measure on."""

from dataclasses import replace

import numpy as np
import pytest

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.workload import PROVEN, Conv2d
from hago.hardware.load import load_spec
from hago.lower.select import build_kernel, machine_of
from tests.arm.board import program
from tests.codegen.isa import random_tensor
from tests.codegen.recipes import fixed_point_epilogue, fixed_point_operands

# A layer of ResNet-18's third stage, and a depthwise one of EfficientNet-Lite0.
LAYERS = {
    "conv2d": Conv2d(1, 14, 14, 64, 64, 3, 3, padding=(1, 1, 1, 1)),
    "depthwise": Conv2d(1, 14, 14, 96, 96, 3, 3, padding=(1, 1, 1, 1), groups=96),
}
# What int8 may cost of float32's instructions, with requantization: issue 6 asks for 0.45 and 0.3
# of a whole network; a depthwise convolution multiplies three of the four bytes that it loads, and
# without a dot product three instructions take 16 products instead of four.
BOUNDS = [
    ("arm-neon", "conv2d", 0.85),
    ("arm-dotprod", "conv2d", 0.45),
    ("arm-i8mm", "conv2d", 0.3),
    ("arm-dotprod", "depthwise", 0.7),
]


def executed(hardware, work, epilogue, operands, folder):
    random = np.random.default_rng(0)
    data = random_tensor(random, (work.n, work.h, work.w, work.ci), work.data)
    shape = (work.co, work.kh, work.kw, work.ci // work.groups)
    kernel = build_kernel(work, epilogue, machine_of(load_spec(hardware)))
    weight = random_tensor(random, shape, PROVEN.get(work.weight, work.weight))
    packed = kernel.pack(np.maximum(weight, -127))
    output = np.zeros(work.output_shape, epilogue.dtype)
    return program(kernel, hardware, folder).count([data, packed, *operands], output)


def float_epilogue(channels):
    """Bias and ReLU."""
    steps = (Step("add", (0, 1)), Step("relu", (2,)))
    return Epilogue("float32", "float32", (Operand((channels,), "float32"),), steps)


@pytest.mark.parametrize(("hardware", "layer", "bound"), BOUNDS)
def test_codes_take_fewer_instructions_than_floats(hardware, layer, bound, tmp_path):
    work = LAYERS[layer]
    bias = [np.zeros(work.co, np.float32)]
    floats = executed(hardware, work, float_epilogue(work.co), bias, tmp_path)
    operands = fixed_point_operands(work.co, np.random.default_rng(1))
    weight = "int8_pairs" if hardware == "arm-neon" and layer == "conv2d" else "int8"
    codes = replace(work, data="int8", weight=weight)
    actual = executed(hardware, codes, fixed_point_epilogue(work.co), operands, tmp_path)
    assert actual <= bound * floats, f"{actual} of {floats}: {actual / floats:.2f}"
