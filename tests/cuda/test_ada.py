"""Ada's kernels are Ampere's and Hopper's, which test_products.py and others play."""

import ml_dtypes  # noqa: F401  numpy learns float8_e4m3fn from it
import pytest
import tvm

from hago.hardware.load import load_spec
from hago.lower.select import find_template, machine_of
from tests.cuda import test_fp8, test_others, test_products
from tests.cuda.cases import case
from tests.cuda.ptx import instructions, loops, ptx

ADA, AMPERE, HOPPER = "cuda-sm89", "cuda-sm80", "cuda-sm90"
AMPERES = {
    **test_products.ALL, **test_others.INTEGERS, **test_others.FLOATS, **test_others.BFLOATS,
}  # fmt: skip
LIKE = {
    **{name: (AMPERE, each) for name, each in AMPERES.items()},
    **{f"e4m3, {name}": (HOPPER, each) for name, each in test_fp8.WORKLOADS.items()},
}


@pytest.mark.parametrize("name", LIKE)
def test_a_kernel_is_the_other_machines(name):
    other, (workload, recipe) = LIKE[name]
    assert find_template(workload, machine_of(load_spec(other))) is not None
    mine, played = (case(workload, recipe, hardware).kernel for hardware in (ADA, other))
    tvm.ir.assert_structural_equal(mine.func, played.func)


def test_tensor_cores_multiply_e4m3_in_the_loop():
    (text,) = ptx([case(*test_fp8.WORKLOADS["several tiles of depth"], ADA).kernel], ADA)
    name = "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32"
    assert max(instructions(loop)[name] for loop in loops(text)) > 0
