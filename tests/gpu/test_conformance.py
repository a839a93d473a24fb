"""Every kernel that tests/cuda plays on a CPU, on a real GPU: the same cases, the same judge."""

import numpy as np
import pytest

from tests.codegen.judge import assert_equal
from tests.cuda import test_decoded, test_fp8, test_others, test_products, test_warpgroups
from tests.cuda.cases import MACHINES, case
from tests.gpu.board import board, require_gpu

ALL = {**test_others.INTEGERS, **test_others.FLOATS}
GROUPS = {f"in groups, {name}": name for name in test_warpgroups.WORKLOADS}
FP8 = {
    **{f"e4m3, {name}": each for name, each in test_fp8.WORKLOADS.items()},
    **{f"decoded, {name}": each for name, each in test_decoded.WORKLOADS.items()},
}


def workloads_of(hardware):
    """Those that the machine has instructions for."""
    more = {} if hardware == "cuda-sm75" else test_others.BFLOATS
    newest = FP8 if hardware in ("cuda-sm89", "cuda-sm90", "cuda-sm90a") else {}
    return {**test_products.workloads_of(hardware), **ALL, **more, **newest}


@pytest.fixture(scope="module", params=MACHINES)
def boards(request, tmp_path_factory):
    require_gpu(request.param)
    cases = {n: case(*w, request.param) for n, w in workloads_of(request.param).items()}
    if request.param == test_warpgroups.HOPPER:
        cases |= {f"in groups, {n}": c for n, c in test_warpgroups.cases_in_groups().items()}
    kernels = {f"k{i}": each.kernel for i, each in enumerate(cases.values())}
    built = board(kernels, request.param, tmp_path_factory.mktemp("gpu"))
    return cases, {name: f"k{i}" for i, name in enumerate(cases)}, built


@pytest.mark.parametrize("name", [*test_products.ALL, *ALL, *test_others.BFLOATS, *FP8, *GROUPS])
def test_a_kernel_equals_its_meaning(boards, name):
    cases, names, built = boards
    if name not in cases:
        others = (*test_products.NIBBLES, *test_others.BFLOATS, *FP8, *GROUPS)
        assert name in others, "instructions of other GPUs"
        return
    each = cases[name]
    output = np.zeros(each.accumulator.shape, each.epilogue.dtype)
    actual = built.run(names[name], [*each.inputs, *each.operands], output)
    exact = name in test_products.ALL or name in test_others.INTEGERS
    slack = 0.0 if exact else test_others.SLACK
    slack = test_warpgroups.slack_of(GROUPS[name]) if name in GROUPS else slack
    assert_equal(actual, each.epilogue, each.accumulator, each.operands, slack)
