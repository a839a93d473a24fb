"""A GPU that is not there: the text that nvcc gets, compiled as C++ and run on the CPU.

TVM turns a kernel into CUDA C++ and launches it; here the same text is included behind device.h,
which plays threads, warps, barriers, tensor cores and copies in the background. Needs a C++
compiler and no part of CUDA.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import tirx as tir

from hago.codegen.cuda.shell import INCLUDE
from hago.codegen.workload import Kernel
from hago.hardware.load import load_spec
from hago.lower.build import kernel_source

FOLDER = Path(__file__).parent
_CANARY = 64  # bytes on either side of each argument that must stay as they are
_ALIGNMENT = 256  # bytes, of what cudaMalloc gives
# Ours, and those that TVM schedules.
_EXTENT = re.compile(r'launch_thread\("(\w+\.\w)", (\d+)\)')
_BINDING = re.compile(r'thread_binding\((?:T\.int64\()?(\d+)\)?, thread="(\w+\.\w)"')


def compiler() -> str:
    """A C++ compiler; the test is skipped where there is none."""
    for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        if name and (found := shutil.which(name)):
            return found
    pytest.skip("no C++ compiler here: CUDA text cannot be run without a GPU")


def source(kernels: Sequence[Kernel], hardware: str) -> str:
    """The CUDA C++ of ``kernels``, the functions of which are named k0, k1, .."""
    named = {f"k{i}": k.func.with_attr("global_symbol", f"k{i}") for i, k in enumerate(kernels)}
    return kernel_source(tvm.IRModule(named), load_spec(hardware))


@dataclass(frozen=True)
class Geometry:
    blocks: int
    threads: int


def geometry(func: tir.PrimFunc) -> Geometry:
    """How a kernel is launched."""
    text = func.script()
    found = dict(_EXTENT.findall(text)) | {name: size for size, name in _BINDING.findall(text)}
    assert set(found) <= {"blockIdx.x", "threadIdx.x"}, f"{found}: only one axis is played"
    return Geometry(int(found.get("blockIdx.x", 1)), int(found.get("threadIdx.x", 1)))


@dataclass(frozen=True, eq=False)
class Program:
    """Kernels that were compiled for the CPU."""

    library: ctypes.CDLL
    parameters: dict[str, list[str]]

    def launch(self, name: str, arguments: Sequence[np.ndarray], size: Geometry, seed: int) -> None:
        """Runs kernel ``name`` on ``arguments`` in place; the order of threads is by ``seed``."""
        places = [_Place(array) for array in arguments]
        pointers = (ctypes.c_void_p * len(places))(*(place.address for place in places))
        call = getattr(self.library, f"launch_{name}")
        call.restype = ctypes.c_char_p
        error = call(pointers, size.blocks, size.threads, ctypes.c_uint64(seed))
        assert not error, f"{name}: {error.decode()}"
        for number, place in enumerate(places):
            place.copy_back(f"argument {number} of {name}")

    def number(self, name: str) -> int:
        """What the last launch counted: "conflicts" of banks, "instructions" of tensor cores."""
        call = getattr(self.library, f"count_{name}")
        call.restype = ctypes.c_long
        return int(call())


class _Place:
    """A copy of an array in memory that is aligned as on a device, between canaries."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, size = array, array.nbytes
        self.memory = np.full(size + 2 * _CANARY + 2 * _ALIGNMENT, 0xA5, np.uint8)
        self.start = -self.memory.ctypes.data % _ALIGNMENT
        if self.start < _CANARY:
            self.start += _ALIGNMENT
        self.address = self.memory.ctypes.data + self.start
        self._inner()[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)

    def _inner(self) -> np.ndarray:
        return self.memory[self.start : self.start + self.array.nbytes]

    def copy_back(self, what: str) -> None:
        outside = np.ones(len(self.memory), bool)
        outside[self.start : self.start + self.array.nbytes] = False
        assert np.all(self.memory[outside] == 0xA5), f"{what}: written outside of it"
        self.array.reshape(-1).view(np.uint8)[:] = self._inner()


def program(text: str, capability: int, folder: Path) -> Program:
    """``text`` as C++ in a library in ``folder``."""
    parameters = parameters_of(text)
    for pattern, replacement in _SHARED:
        text = re.sub(pattern, replacement, text)
    launchers = "".join(_LAUNCHER.replace("NAME", name) for name in parameters)
    (folder / "kernels.cc").write_text(f'#include "device.h"\n{text}\n{launchers}{_COUNTERS}')
    command = [
        compiler(), "-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-ffp-contract=off",
        "-fno-strict-aliasing", "-fno-gnu-unique", f"-D__CUDA_ARCH__={capability * 10}",
        f"-I{FOLDER}", f"-I{FOLDER / 'stubs'}", f"-I{INCLUDE}",
        str(folder / "kernels.cc"), "-o", str(folder / "kernels.so"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    return Program(ctypes.CDLL(str(folder / "kernels.so")), parameters)


def parameters_of(text: str) -> dict[str, list[str]]:
    """The names of the parameters of each kernel: TVM does not keep their order."""
    found = re.findall(r"__launch_bounds__\(\d+\) (\w+)\((.*?)\) \{", text)
    return {
        name: [p.split()[-1].removesuffix("_ptr") for p in parameters.split(", ")]
        for name, parameters in found
    }


def run(kernel: Kernel, built: Program, name: str, arrays: Sequence[np.ndarray], seed: int) -> None:
    """Runs ``kernel`` in place on ``arrays``, which are in the order of its own parameters."""
    names = [str(param.name) for param in kernel.func.params]
    given = dict(zip(names, arrays, strict=True))
    ordered = [given[parameter] for parameter in built.parameters[f"{name}_kernel"]]
    built.launch(f"{name}_kernel", ordered, geometry(kernel.func), seed)


# Shared memory as C++: of a size that the launch gives, and of a fixed one.
_SHARED = (
    (r"extern __shared__ .*? (\w+)\[\];", r"uchar* \1 = emulation::machine().start;"),
    (r"__shared__ (alignas\(\d+\))", r"\1 static"),
)
_LAUNCHER = """
extern "C" const char* launch_NAME(void** arguments, unsigned blocks, unsigned threads,
                                   uint64_t seed) {
  return emulation::launch(NAME, arguments, blocks, threads, seed);
}
"""
_COUNTERS = """
extern "C" long count_conflicts() { return emulation::machine().conflicts; }
extern "C" long count_instructions() { return emulation::machine().instructions; }
"""
