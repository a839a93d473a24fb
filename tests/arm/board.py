"""An Arm board that is not there: kernels are built here and run by QEMU.

Needs a cross compiler and QEMU's user mode (Debian: gcc-aarch64-linux-gnu, qemu-user-static);
counting instructions needs plugins, which only the dynamic qemu-aarch64 has (qemu-user). Tests
that find them missing are skipped and say so.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tvm
import tvm_ffi

from hago.codegen.passes import CPU_PIPELINE
from hago.codegen.workload import Kernel
from hago.hardware.load import load_spec
from hago.lower.select import machine_of

FOLDER = Path(__file__).parent
COMPILER = "aarch64-linux-gnu-gcc"
EMULATORS = ("qemu-aarch64-static", "qemu-aarch64")
_CODES = {"i": 0, "u": 1, "f": 2, "V": 4}  # DLDataTypeCode; numpy calls bfloat16 "V"
ABLE = ("-cpu", "max")


def tool(*names: str) -> str:
    """The first of ``names`` that is on the PATH; the test is skipped where none is."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no {' or '.join(names)} here: Arm code cannot be built and run")
    return found


def library(kernel: Kernel, hardware: str) -> tvm.runtime.Module:
    """``kernel`` as machine code of a built-in machine. Needs none of the tools."""
    func = kernel.func.with_attr("global_symbol", "main")
    target = tvm.target.Target(load_spec(hardware).target)
    executable = tvm.compile(tvm.IRModule({"main": func}), target, tir_pipeline=CPU_PIPELINE)
    return executable.mod


def assembly(kernel: Kernel, hardware: str) -> str:
    return str(library(kernel, hardware).inspect_source("s"))


@dataclass(frozen=True)
class Program:
    """A kernel that was linked to ``runner.c``, in a folder of its own."""

    folder: Path

    def run(self, inputs: Sequence[np.ndarray], output: np.ndarray, cpu: str = "max") -> np.ndarray:
        """The kernel's output, which has the shape and dtype of ``output``."""
        self._write([*inputs, np.full_like(output, 77)])
        self._execute([tool(*EMULATORS), "-cpu", cpu], repeat=1)
        data = np.fromfile(self.folder / "output", output.dtype)
        return data.reshape(output.shape)

    def count(self, inputs: Sequence[np.ndarray], output: np.ndarray) -> int:
        """Instructions that one call executes: those of two calls less those of one."""
        self._write([*inputs, output])
        command = [tool("qemu-aarch64"), *ABLE, "-plugin", str(counter(self.folder))]
        once, twice = (self._counted(command, repeat) for repeat in (1, 2))
        return twice - once

    def _counted(self, command: list[str], repeat: int) -> int:
        found = re.search(r"executed (\d+)", self._execute(command, repeat))
        assert found is not None
        return int(found[1])

    def _write(self, tensors: Sequence[np.ndarray]) -> None:
        with (self.folder / "arguments").open("wb") as file:
            for tensor in tensors:
                head = (_CODES[tensor.dtype.kind], tensor.dtype.itemsize * 8, tensor.ndim)
                file.write(struct.pack("<3i", *head))
                file.write(struct.pack(f"<{tensor.ndim}q", *tensor.shape))
                file.write(np.ascontiguousarray(tensor).tobytes())

    def _execute(self, emulator: list[str], repeat: int) -> str:
        """Standard error of the program."""
        paths = [str(self.folder / name) for name in ("runner", "arguments", "output")]
        done = subprocess.run(
            [*emulator, *paths, str(repeat)], capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
        return done.stderr


def program(kernel: Kernel, hardware: str, folder: Path) -> Program:
    """``kernel`` for a built-in machine, linked without TVM's runtime."""
    compiler = tool(COMPILER)
    tool(*EMULATORS)
    folder = Path(tempfile.mkdtemp(dir=folder))
    library(kernel, hardware).write_to_file(str(folder / "kernel.o"), "o")
    include = Path(tvm_ffi.__file__).parent / "include"
    _built([compiler, "-O1", "-static", "-I", str(include), str(FOLDER / "runner.c"),
            str(folder / "kernel.o"), "-lm", "-o", str(folder / "runner")])  # fmt: skip
    return Program(folder)


def counter(folder: Path) -> Path:
    """The plugin of ``count.c``, built in ``folder``."""
    path = folder / "libcount.so"
    if not path.exists():
        source = str(FOLDER / "count.c")
        _built([tool("cc", "gcc"), "-shared", "-fPIC", "-O1", source, "-o", str(path)])
    return path


def _built(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def machine(hardware: str):
    return machine_of(load_spec(hardware))
