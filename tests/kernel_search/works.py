"""Kernels that are quickly compiled and raced."""

from __future__ import annotations

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.workload import Conv2d, Matmul
from hago.hardware.load import load_spec

SPEC = load_spec("x86-avx2")  # the least that any computer that runs these tests has


def product(m=8, zero_point=3.0, scale=0.5):
    """A product of codes with a requantization, and its numbers."""
    steps = (
        Step("float", (0,)),
        Step("multiply", (2, 1)),
        Step("quantize_uint8", (3,), (scale, zero_point, 0.0, 255.0)),
    )
    operands = (Operand((32,), "float32"),)
    return Matmul(m, 32, 16, "uint8", "int8"), Epilogue("int32", "uint8", operands, steps)


def depthwise():
    workload = Conv2d(
        1, 6, 6, 16, 16, 3, 3, padding=(1, 1, 1, 1), groups=16, data="uint8", weight="int8"
    )
    return workload, Epilogue("int32", "int32")
