"""What this computer's NVIDIA GPU can do, as its driver says."""

from __future__ import annotations

import ctypes
from functools import cache

_DRIVER = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CUdevice_attribute: COMPUTE_CAPABILITY_MAJOR, .._MINOR
_OLDEST = 50  # what no driver of today goes below


@cache
def gpu_capability() -> int:
    """The compute capability of the first GPU (80 is 8.0); 0 where there is none or no driver."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return 0
    device, value = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return 0
    found = []
    for attribute in (_MAJOR, _MINOR):
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return 0
        found.append(value.value)
    return found[0] * 10 + found[1]


def gpu_features() -> frozenset[str]:
    """The words of specifications that the GPU fulfils: a later one runs PTX of all before it, but
    for what is an architecture's own ("sm_90a")."""
    earlier = (f"sm_{number}" for number in range(_OLDEST, gpu_capability() + 1))
    return frozenset((*earlier, f"sm_{gpu_capability()}a"))


def is_gpu_feature(feature: str) -> bool:
    """Whether a specification's word is about a GPU."""
    return feature.startswith("sm_")
