"""Inputs go to a device and outputs come back; the CPU can play the device."""

import ml_dtypes  # noqa: F401  numpy learns bfloat16 and float8_e4m3fn from it
import numpy as np
import pytest

from hago.deploy.memory import GpuMemory, HostMemory
from hago.deploy.runtime import load_runtime


@pytest.mark.parametrize("dtype", ["float32", "int64", "int8", "bfloat16", "float8_e4m3fn"])
def test_what_enters_a_device_leaves_it(dtype):
    memory = GpuMemory(load_runtime(), device="cpu:0")
    array = np.arange(-30, 30).reshape(3, 20).astype(dtype)
    tensor = memory.enter(array[:, ::2])
    array[:] = 7  # the tensor has its own memory
    (back,) = memory.leave([tensor])
    assert back.dtype == dtype
    assert np.array_equal(back, np.arange(-30, 30).reshape(3, 20)[:, ::2].astype(dtype))


def test_tensors_of_the_host_are_views():
    memory = HostMemory(load_runtime())
    array = np.zeros(64, "float32")
    (back,) = memory.leave([memory.enter(array)])
    back[3] = 5
    assert array[3] == 5 or array.ctypes.data % 64  # a copy only of what is not aligned
