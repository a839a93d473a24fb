"""Peers restricted to the instructions of a specification, as they would be on such a machine.

OpenVINO has a variable for it, onnxruntime nothing. Both ask the CPU what it can do, so the CPU is
made to answer less, by a library in front of all others: see hidden.c.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

_SOURCE = Path(__file__).with_name("hidden.c")
_BITS = "HAGO_BENCH_HIDDEN"
_REGISTERS = ((0, "ebx"), (0, "ecx"), (0, "edx"), (1, "eax"), (1, "ebx"), (1, "edx"))


@dataclass(frozen=True)
class Feature:
    """A bit of CPUID's leaf 7 (Intel SDM vol. 2, CPUID)."""

    name: str
    subleaf: int
    register: str
    bit: int


def _features(names: str, subleaf: int, register: str, bits: Iterable[int]) -> tuple[Feature, ...]:
    return tuple(
        Feature(name, subleaf, register, bit)
        for name, bit in zip(names.split(), bits, strict=True)
    )


_AMX = (
    *_features("amx_bf16 amx_tile amx_int8", 0, "edx", (22, 24, 25)),
    *_features("amx_fp16", 1, "eax", (21,)),
    *_features("amx_complex", 1, "edx", (8,)),
)
_BF16 = (
    *_features("avx512_fp16", 0, "edx", (23,)),
    *_features("avx512_bf16", 1, "eax", (5,)),
    *_features("avx_ne_convert avx10", 1, "edx", (5, 19)),
)
_VNNI = (
    *_features("avx512_vnni", 0, "ecx", (11,)),
    *_features("avx_vnni", 1, "eax", (4,)),
    *_features("avx_vnni_int8 avx_vnni_int16", 1, "edx", (4, 10)),
)
_AVX512 = (
    *_features("f dq ifma pf er cd bw vl", 0, "ebx", (16, 17, 21, 26, 27, 28, 30, 31)),
    *_features("vbmi vbmi2 bitalg vpopcntdq", 0, "ecx", (1, 6, 12, 14)),
    *_features("4vnniw 4fmaps vp2intersect", 0, "edx", (2, 3, 8)),
)
# What the machine of a specification has not.
HIDDEN: Mapping[str, tuple[Feature, ...]] = {
    "x86-bf16": _AMX,
    "x86-zen4": _AMX,
    "x86-vnni": _AMX + _BF16,
    "x86-avx512": _AMX + _BF16 + _VNNI,
    "x86-avx2": _AMX + _BF16 + _VNNI + _AVX512,
}


def hide(machine: str | None, folder: Path) -> bool:
    """Starts this program anew with what ``machine`` has not hidden from it; True where that has
    happened, False where nothing is hidden or cannot be. ``folder`` keeps the library."""
    if machine in HIDDEN and _BITS not in os.environ:
        _start_anew(HIDDEN[machine], folder)
    return is_hiding()


def _start_anew(hidden: Iterable[Feature], folder: Path) -> None:
    """Does not return, unless there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return
    os.environ[_BITS] = bits(hidden)
    os.environ["LD_PRELOAD"] = str(build(compiler, folder))
    os.execv(sys.executable, sys.orig_argv)


def is_hiding() -> bool:
    """Whether this process runs with something hidden: some systems let no process ask for it."""
    try:
        return bool(ctypes.CDLL(None).hago_hides())
    except AttributeError:
        return False


def build(compiler: str, folder: Path) -> Path:
    """The library, built by a C compiler. Raises CalledProcessError where it cannot be."""
    digest = sha256(_SOURCE.read_bytes()).hexdigest()[:16]
    library = folder / f"hidden-{digest}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        options = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror")
        command = [compiler, *options, "-o", str(library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True)
    return library


def bits(features: Iterable[Feature]) -> str:
    """The registers' bits as the library reads them."""
    masks = dict.fromkeys(_REGISTERS, 0)
    for feature in features:
        masks[feature.subleaf, feature.register] |= 1 << feature.bit
    return " ".join(f"{mask:x}" for mask in masks.values())
