"""Tables of 256 bytes are looked up by TBL, and only where a machine has it."""

import numpy as np
import pytest

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.workload import Table
from hago.hardware.load import load_spec
from hago.lower.group import find_groups
from hago.lower.lower import lower
from hago.lower.select import build_kernel, find_template, machine_of
from hago.lower.view import view_of
from hago.realize import realize
from tests.arm.board import assembly, program
from tests.arm.test_code import hottest
from tests.graphs import input_for, quantized, residual_network

ARM = machine_of(load_spec("arm-dotprod"))


@pytest.mark.parametrize("data", ["int8", "uint8"])
@pytest.mark.parametrize("shape", [(1, 16, 16, 16), (3, 7, 5), (4,)])
def test_every_code_has_its_entry(data, shape, tmp_path):
    random = np.random.default_rng(0)
    table = random.permutation(256).astype(np.uint8).view(np.int8)
    bounds = np.iinfo(data)
    codes = random.integers(bounds.min, bounds.max + 1, shape).astype(data)
    work, epilogue = Table(shape, data, "int8"), Epilogue("int8", "int8")
    built = program(build_kernel(work, epilogue, ARM), "arm-dotprod", tmp_path)
    actual = built.run([codes, table], np.zeros(shape, "int8"))
    assert np.array_equal(actual, table[codes.astype(int) - int(bounds.min)])


def test_what_follows_a_table_is_computed_with_it(tmp_path):
    random, shape = np.random.default_rng(1), (5, 37)
    table = random.permutation(256).astype(np.uint8).view(np.int8)
    codes = random.integers(-128, 128, shape).astype(np.int8)
    scale = random.normal(size=37).astype(np.float32)
    steps = (Step("float", (0,)), Step("multiply", (2, 1)))
    epilogue = Epilogue("int8", "float32", (Operand((37,), "float32"),), steps)
    kernel = build_kernel(Table(shape, "int8", "int8"), epilogue, ARM)
    built = program(kernel, "arm-dotprod", tmp_path)
    actual = built.run([codes, table, scale], np.zeros(shape, np.float32))
    assert np.array_equal(actual, table[codes.astype(int) + 128].astype(np.float32) * scale)


def test_the_hot_loop_takes_four_look_ups_for_16_codes():
    kernel = build_kernel(Table((1, 4096), "int8", "int8"), Epilogue("int8", "int8"), ARM)
    loop = hottest(assembly(kernel, "arm-dotprod"), "tbx")
    assert (loop["tbl"], loop["tbx"]) == (1, 3)
    assert loop.total() <= 16


def test_tables_of_a_network_are_kernels_on_arm_and_left_to_tvm_on_x86():
    module, arm = residual_network(), load_spec("arm-dotprod")
    realized = realize(quantized(module, arm, input_for(module)))
    groups = find_groups(view_of(realized))
    (table,) = (group for group in groups if isinstance(group.workload, Table))
    assert table.data[0] == "add_1_codes"
    assert find_template(table.workload, ARM) is not None
    assert find_template(table.workload, machine_of(load_spec("x86-vnni"))) is None
    names = {str(var.name_hint) for var, _ in lower(realized, arm).functions_items()}
    assert any(name.startswith("table_") for name in names)
    assert not any(name.startswith("take") for name in names)
