"""Weights of depthwise convolutions from one copy: in numpy, by the kernel, and in a network."""

import numpy as np
import pytest
import tvm

from hago.codegen.band import choose_band
from hago.codegen.kernels.depthwise_int8 import pack
from hago.codegen.kernels.spread import build_spread, find_spread, spread
from hago.codegen.select import choose_dot
from hago.codegen.workload import Conv2d, Kernel
from tests.codegen.isa import MACHINES, compiled, machine

WORKLOADS = {
    "3x3": Conv2d(1, 14, 14, 48, 48, 3, 3, (1, 1), (1, 1, 1, 1), groups=48),
    "3x3, stride 2": Conv2d(1, 14, 14, 48, 48, 3, 3, (2, 2), (1, 1, 1, 1), groups=48),
    "5x5": Conv2d(1, 14, 14, 37, 37, 5, 5, (1, 1), (2, 2, 2, 2), groups=37),
    "5x5, stride 2": Conv2d(1, 14, 14, 48, 48, 5, 5, (2, 2), (2, 2, 2, 2), groups=48),
    "dilated": Conv2d(1, 14, 14, 48, 48, 3, 3, (1, 1), (2, 2, 2, 2), (2, 2), groups=48),
}


def packed_weights(work, isa):
    work = Conv2d(**{**vars(work), "data": "uint8", "weight": "int8_pairs"})
    dot, lanes = choose_dot(work, MACHINES[isa]), MACHINES[isa].lanes
    band = choose_band(work, dot, lanes)
    codes = np.random.default_rng(0).integers(-8, 8, (work.co, work.kh, work.kw, 1))
    return pack(codes.astype(np.int8), work, band, dot, lanes), band


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("name", WORKLOADS)
def test_one_copy_is_enough(isa, name):
    packed, band = packed_weights(WORKLOADS[name], isa)
    form, one = find_spread(packed, band.step)
    assert one.size * band.outputs <= packed.size
    assert np.array_equal(spread(form, one), packed)


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("name", WORKLOADS)
def test_the_kernel_means_what_numpy_says(isa, name):
    machine(isa)
    packed, band = packed_weights(WORKLOADS[name], isa)
    form, one = find_spread(packed, band.step)
    kernel = Kernel(build_spread(form, str(packed.dtype)), None, "spread")
    output = tvm.runtime.tensor(np.full_like(packed, 77))
    compiled(kernel, isa)["main"](tvm.runtime.tensor(one), output)
    assert np.array_equal(output.numpy(), packed)


def test_what_is_no_spread_stays_as_it_is():
    packed, band = packed_weights(WORKLOADS["5x5"], "vnni")
    packed[0, 1, 0, 0, 0, 0] ^= 1
    assert find_spread(packed, band.step) is None
