"""Group norms on an Arm that QEMU plays, with bytes that are packed four vectors at once."""

import pytest

from hago.codegen.workload import GroupNorm
from hago.hardware.load import load_spec
from hago.lower.select import build_kernel, machine_of
from tests.arm.board import program
from tests.codegen.recipes import Recipe
from tests.codegen.test_group_norm import judge


@pytest.mark.parametrize("output", ["int8", "uint8", "float32"])
def test_a_group_norm_equals_its_meaning(output, tmp_path):
    workload = GroupNorm((1, 3, 5, 44), 11, 1e-5)

    def compute(epilogue, inputs, zeros):
        kernel = build_kernel(workload, epilogue, machine_of(load_spec("arm-neon")))
        return program(kernel, "arm-neon", tmp_path).run(inputs, zeros)

    judge(workload, Recipe(output=output), compute)
