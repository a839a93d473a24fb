"""AMX for tests: on a CPU that has it as it is, elsewhere by the emulator amx.c.

Emulation is a property of a process, so whatever runs tile instructions runs in one of its own.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import multiprocessing
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.codegen.isa import cpu_flags

FOLDER = Path(__file__).parent
AMX_FLAGS = frozenset({"amx_tile", "amx_int8", "amx_bf16"})
# What a target "sapphirerapids" may use beside AMX.
_AVX512 = frozenset({"avx512_vnni", "avx512_bf16", "avx512_fp16"})


def has_amx() -> bool:
    """Whether this CPU runs tile instructions itself."""
    return cpu_flags() >= AMX_FLAGS


@functools.cache
def _scratch() -> str:
    folder = tempfile.TemporaryDirectory(prefix="hago-amx-")
    atexit.register(folder.cleanup)
    return folder.name


def scratch_folder() -> Path:
    """A new folder that lives as long as this process."""
    return Path(tempfile.mkdtemp(dir=_scratch()))


def compile_c(sources: Sequence[Path], name: str, *flags: str) -> Path:
    """``sources`` compiled into a new file ``name``; the test is skipped without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("no C compiler (cc) for x86-64: AMX can neither be emulated nor tested here")
    output = scratch_folder() / name
    command = [compiler, "-O3", "-march=native", *flags, *map(str, sources), "-lm"]
    subprocess.run([*command, "-o", str(output)], check=True)
    return output


@functools.cache
def emulator() -> Path | None:
    """The emulator as a shared library; None where the CPU needs none."""
    if has_amx():
        return None
    return compile_c([FOLDER / "amx.c"], "libamx.so", "-shared", "-fPIC", "-Wall", "-Werror")


def environment() -> dict[str, str]:
    """The variables under which a process has AMX."""
    library = emulator()
    return {**os.environ, **({"LD_PRELOAD": str(library)} if library else {})}


def amx_process() -> ProcessPoolExecutor:
    """An executor whose single process has AMX: ``submit`` functions of importable modules."""
    missing = sorted(_AVX512 - cpu_flags())
    if missing:
        pytest.skip(f"AMX is emulated, but kernels beside it need {', '.join(missing)}")
    library = emulator()
    return ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_load if library else None,
        initargs=(str(library),) if library else (),
    )


def _load(library: str) -> None:
    assert ctypes.CDLL(library).amx_emulation_error() == 0
