"""Machines most of whose kernels are another's: those are played by test_products.py and others."""

import ml_dtypes  # noqa: F401  numpy learns float8_e4m3fn from it
import pytest
import tvm_ffi

from hago.codegen.workload import BatchMatmul, Conv2d, Matmul
from hago.hardware.load import load_spec
from hago.lower.select import find_template, machine_of
from tests.cuda import test_fp8, test_others, test_products
from tests.cuda.cases import case

ADA, AMPERE, HOPPER, HOPPERS_OWN = "cuda-sm89", "cuda-sm80", "cuda-sm90", "cuda-sm90a"
OTHERS = {**test_others.INTEGERS, **test_others.FLOATS, **test_others.BFLOATS}
FP8 = {f"e4m3, {name}": each for name, each in test_fp8.WORKLOADS.items()}
MOVES = {
    name: each
    for name, each in FP8.items()
    if not isinstance(each[0], Matmul | Conv2d | BatchMatmul)
}
ALIKE = {
    ADA: (
        {**dict.fromkeys([*test_products.ALL, *OTHERS], AMPERE), **dict.fromkeys(MOVES, HOPPER)},
        {**test_products.ALL, **OTHERS, **MOVES},
    ),
    HOPPER: (
        dict.fromkeys([*test_products.WORKLOADS, *OTHERS], AMPERE),
        {**test_products.WORKLOADS, **OTHERS},
    ),
    # Few rows: no warpgroup multiplies them.
    HOPPERS_OWN: (
        dict.fromkeys([*test_products.WORKLOADS, *OTHERS, *FP8], HOPPER),
        {**test_products.WORKLOADS, **OTHERS, **FP8},
    ),
}
IN_GROUPS = ["many rows"]  # where warpgroups multiply (test_warpgroups.py)


@pytest.mark.parametrize(
    ("mine", "name"), [(machine, name) for machine in ALIKE for name in ALIKE[machine][0]]
)
def test_a_kernel_is_the_other_machines(mine, name):
    others, workloads = ALIKE[mine]
    workload, recipe = workloads[name]
    assert find_template(workload, machine_of(load_spec(others[name]))) is not None
    own, played = (case(workload, recipe, each).kernel for each in (mine, others[name]))
    is_same = tvm_ffi.structural_equal(own.func, played.func)
    assert is_same == (mine != HOPPERS_OWN or name not in IN_GROUPS)
