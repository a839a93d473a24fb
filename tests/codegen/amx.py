"""Kernels of AMX tiles as functions of plain data, for a process that has AMX."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm

from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.batch_matmul_amx import build_batch_matmul_amx
from hago.codegen.kernels.conv_amx import build_conv_amx
from hago.codegen.kernels.cut_amx import Cut
from hago.codegen.kernels.matmul_amx import build_matmul_amx
from hago.codegen.workload import BatchMatmul, Conv2d, Kernel, Machine, Matmul
from hago.scheme import BFLOAT16_ARRAY

Array = np.ndarray[Any, Any]
Work = Conv2d | Matmul | BatchMatmul
AMX = Machine(64, frozenset({"tdpbusd", "tdpbssd", "tdpbf16ps", "vpdpbusd", "vdpbf16ps"}))
_BUILDERS: dict[type, Callable[[Any, Epilogue, Machine, Cut | None], Kernel]] = {
    Conv2d: build_conv_amx,
    Matmul: build_matmul_amx,
    BatchMatmul: build_batch_matmul_amx,
}
_ALIGNMENT = 64  # of every buffer that TVM's kernels take
_POOL_OF_EQUAL_CORES = 1  # tvm::runtime::threading::ThreadGroup::AffinityMode::kBig
_NO_ACCESS = 0  # PROT_NONE


def build(workload: Work, epilogue: Epilogue, cut: Cut | None = None) -> Kernel:
    return _BUILDERS[type(workload)](workload, epilogue, AMX, cut)


def compiled(kernel: Kernel) -> tvm.runtime.Module:
    func = kernel.func.with_attr("global_symbol", "main")
    target = {"kind": "llvm", "mcpu": "sapphirerapids"}
    return tvm.compile(tvm.IRModule({"main": func}), target)


def run(
    workload: Work, epilogue: Epilogue, data: Array, other: Array, operands: Sequence[Array] = (),
    cut: Cut | None = None,
) -> Array:
    """The output for ``data`` and weights (or the second activation) ``other``.

    Every argument ends at a page that nobody may touch, except for up to 63 bytes of alignment.
    """
    kernel = build(workload, epilogue, cut)
    packed = kernel.pack(other) if kernel.pack else other
    dtype = BFLOAT16_ARRAY if epilogue.dtype == "bfloat16" else epilogue.dtype
    output = np.full(workload.output_shape, 77, dtype)
    arguments = [_guarded(array) for array in (data, packed, *operands, output)]
    compiled(kernel)["main"](*map(_tensor, arguments))
    return np.array(arguments[-1])


def use_threads(count: int) -> None:
    """Lets kernels use ``count`` threads from now on."""
    os.environ["TVM_NUM_THREADS"] = str(count)
    tvm.get_global_func("runtime.config_threadpool")(_POOL_OF_EQUAL_CORES, count)


def _tensor(array: Array) -> tvm.runtime.Tensor:
    """A tensor of the same memory (numpy exports bfloat16 as its bits only)."""
    if array.dtype != BFLOAT16_ARRAY:
        return tvm.runtime.from_dlpack(array)
    return tvm.runtime.from_dlpack(array.view(np.uint16))._create_view(array.shape, "bfloat16")


def _guarded(array: Array) -> Array:
    """A copy of ``array`` in front of a page without access, aligned."""
    page = mmap.PAGESIZE
    size = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, size + page)
    whole = np.frombuffer(memory, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    address = ctypes.c_void_p(whole.ctypes.data + size)
    if libc.mprotect(address, ctypes.c_size_t(page), _NO_ACCESS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    start = (size - array.nbytes) // _ALIGNMENT * _ALIGNMENT
    copy = whole[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
