"""Arrays on their way to a device and back."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hago.scheme import Array

_ALIGNMENT = 64  # bytes: TVM's kernels assume it of every buffer (tvm::runtime::kAllocAlignment)
# DLDeviceType, tvm::runtime::vm::AllocatorType
_CPU, _CUDA, _POOLED = 1, 2, 2


@dataclass(frozen=True, eq=False)
class HostMemory:
    """Kernels of the CPU: tensors are views of arrays. ``ffi`` is the module of the runtime."""

    ffi: Any

    @property
    def devices(self) -> tuple[int, ...]:
        """What a virtual machine is initialized with: device and allocator of the model, and of
        its shape functions."""
        return _CPU, 0, _POOLED, _CPU, 0, _POOLED

    def enter(self, array: Array) -> Any:
        """A tensor of ``array``."""
        return self.ffi.from_dlpack(_aligned(array))

    def leave(self, tensors: Sequence[Any]) -> list[Array]:
        """Arrays of the tensors that a call returned."""
        return [np.from_dlpack(tensor) for tensor in tensors]


@dataclass(frozen=True, eq=False)
class GpuMemory:
    """Kernels of the first GPU: inputs are copied there, outputs back."""

    ffi: Any
    device: str = "cuda:0"

    @property
    def devices(self) -> tuple[int, ...]:
        return _CUDA, 0, _POOLED, _CPU, 0, _POOLED

    def enter(self, array: Array) -> Any:
        whole, device = np.asarray(array, order="C"), self.ffi.device(self.device)
        shape, dtype = self.ffi.Shape(array.shape), self.ffi.dtype(str(array.dtype))
        tensor = self._function("TVMTensorAllocWithScope")(shape, dtype, device, None)
        address = ctypes.c_void_p(whole.ctypes.data)
        self._function("TVMTensorCopyFromBytes")(tensor, address, whole.nbytes)
        # The array may end before a copy in the background does.
        self._function("Device_StreamSync")(device, 0)
        return tensor

    def leave(self, tensors: Sequence[Any]) -> list[Array]:
        results = [np.empty(tuple(tensor.shape), str(tensor.dtype)) for tensor in tensors]
        for tensor, array in zip(tensors, results, strict=True):
            address = ctypes.c_void_p(array.ctypes.data)
            self._function("TVMTensorCopyToBytes")(tensor, address, array.nbytes)
        self._function("Device_StreamSync")(self.ffi.device(self.device), 0)
        return results

    def _function(self, name: str) -> Any:
        return self.ffi.get_global_func(f"runtime.{name}")


Memory = HostMemory | GpuMemory


def _aligned(array: Array) -> Array:
    """``array``, or a copy that is aligned and writable as TVM wants its arguments."""
    if array.ctypes.data % _ALIGNMENT == 0 and array.flags.writeable:
        return array
    buffer = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    np.copyto(copy, array)
    return copy
