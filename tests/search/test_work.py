"""What a worker builds: kernels cut as its setting says."""

from __future__ import annotations

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

from hago.hardware.load import load_spec
from hago.lower.build import build
from hago.lower.select import machine_of, schedules
from hago.search.work import Setting, random_inputs
from tests.graphs import Builder

SPEC = load_spec("x86-avx2")  # the least that any computer that runs these tests has


def test_trials_are_built_with_the_schedules_of_their_setting():
    b = Builder(1, 6, 6, 16)
    module = b.done(b.conv("conv2d", b.input, 32, padding=1))
    known = []

    def choose(workload, epilogue):
        known.append(workload)
        return schedules(workload, machine_of(SPEC))[-1]

    inputs = [tvm.runtime.tensor(value) for value in random_inputs(module)]
    lowered = [Setting(SPEC).lower(module), Setting(SPEC, choose=choose).lower(module)]
    assert len(known) == 1
    assert len(schedules(known[0], machine_of(SPEC))) > 1
    assert not tvm_ffi.structural_equal(*lowered)
    outputs = [relax.VirtualMachine(build(m, SPEC), tvm.cpu())["main"](*inputs) for m in lowered]
    # Sums of 9 * 16 products in another order: each addition rounds by at most eps of the largest.
    first, second = (np.asarray(output.numpy()) for output in outputs)
    slack = 9 * 16 * np.finfo(np.float32).eps * np.abs(first).max()
    np.testing.assert_allclose(first, second, rtol=0, atol=slack)
