"""What is worth a measurement: few schedules of each workload, the template's own choice first."""

import pytest
import tvm_ffi

from hago.codegen.blocking import Blocking
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.conv_winograd import WinogradTile
from hago.codegen.select import choose_dot
from hago.codegen.workload import BatchMatmul, Conv2d, Matmul, Permute
from hago.lower.select import build_kernel, schedules
from tests.codegen.amx import AMX
from tests.codegen.isa import MACHINES

CODES = {"data": "uint8", "weight": "int8"}
PADDED = {"padding": (1, 1, 1, 1)}
WORKLOADS = {
    "3x3": Conv2d(1, 14, 14, 64, 64, 3, 3, **PADDED, **CODES),
    "1x1": Conv2d(1, 28, 28, 32, 192, 1, 1, **CODES),
    "3x3 in float32": Conv2d(1, 14, 14, 64, 64, 3, 3, **PADDED),
    "depthwise": Conv2d(1, 28, 28, 144, 144, 3, 3, **PADDED, groups=144, **CODES),
    "depthwise in float32": Conv2d(1, 28, 28, 144, 144, 3, 3, **PADDED, groups=144),
    "product": Matmul(128, 384, 384, **CODES),
    "product of activations": BatchMatmul(12, 128, 32, 128, **CODES),
}
every_workload = pytest.mark.parametrize("name", WORKLOADS)
every_machine = pytest.mark.parametrize("isa", MACHINES)


@every_machine
@every_workload
def test_a_search_has_a_few_schedules_to_measure_and_each_has_its_own_name(isa, name):
    found = schedules(WORKLOADS[name], MACHINES[isa])
    assert 4 <= len(found) <= 30
    assert len(set(map(str, found))) == len(found)


@every_machine
@every_workload
def test_the_first_schedule_is_what_the_template_chooses(isa, name):
    workload, machine = WORKLOADS[name], MACHINES[isa]
    plain = Epilogue(workload.accum, workload.accum)
    chosen = build_kernel(workload, plain, machine)
    first = build_kernel(workload, plain, machine, schedules(workload, machine)[0])
    assert tvm_ffi.structural_equal(chosen.func, first.func)


@every_machine
def test_the_accumulators_of_a_tile_leave_registers_for_its_operands(isa):
    workload, machine = WORKLOADS["3x3"], MACHINES[isa]
    needed = 2 if choose_dot(workload, machine).name == "vpdpbusd" else 3
    for schedule in schedules(workload, machine):
        assert isinstance(schedule, Blocking | WinogradTile)
        assert schedule.rows * schedule.columns + needed <= machine.registers


def test_what_has_no_parameters_has_no_schedules():
    assert schedules(Permute((4, 5), (1, 0)), MACHINES["avx2"]) == ()


@pytest.mark.parametrize("workload", [
    Conv2d(1, 14, 14, 256, 256, 3, 3, **PADDED, **CODES), Matmul(128, 384, 384, **CODES),
    BatchMatmul(12, 128, 128, 64, **CODES),
], ids=lambda workload: type(workload).__name__)  # fmt: skip
def test_amx_has_six_cuts_the_one_of_fewest_cycles_first(workload):
    found = schedules(workload, AMX)
    assert len(set(map(str, found))) == len(found) == 6
    plain = Epilogue("int32", "int32")
    kernels = [build_kernel(workload, plain, AMX, each).func for each in (None, found[0])]
    assert tvm_ffi.structural_equal(*kernels)
