"""Links object files to a shared library with whatever linker the machine has."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from hago.errors import BuildError

# A compiler driver finds its own linker; a bare linker is enough too, since the objects use only
# what the process already has (libtvm_ffi, libc, libm).
_DRIVERS = ("c++", "g++", "clang++", "cc", "gcc", "clang", "ld.lld", "ld")
# Of another architecture, named after its triple; LLVM's linker knows all of them.
_CROSS_DRIVERS = ("{}-g++", "{}-gcc", "{}-clang++", "{}-clang", "{}-ld", "ld.lld")

Link = Callable[..., None]


def linker_for(triple: str) -> Link:
    """:func:`link_shared` for objects of the target ``triple``; empty for this computer's."""
    if triple.partition("-")[0] in ("", platform.machine()):
        return link_shared

    def link(output: str, objects: list[str], options: list[str] | None = None) -> None:
        _link(_find_cross_linker(triple), output, objects, options)

    link.object_format = "o"  # type: ignore[attr-defined]  # read by TVM's export_library
    return link


def link_shared(output: str, objects: list[str], options: list[str] | None = None) -> None:
    """Writes the shared library ``output`` from relocatable ``objects``, without debug sections.

    ``$CXX`` or ``$CC`` are tried first. Raises BuildError where there is no linker or it fails.
    """
    _link(_find_linker(), output, objects, options)


link_shared.object_format = "o"  # type: ignore[attr-defined]  # read by TVM's export_library


def _link(linker: str, output: str, objects: list[str], options: Sequence[str] | None) -> None:
    command = [linker, "-shared", "-s", "-o", output, *objects, *(options or ())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(
            f"{Path(output).name}: linking failed",
            fact=done.stderr.strip() or f"exit status {done.returncode}",
            source=" ".join(command[:2]),
            way_out="Set CXX to a working compiler driver.",
        )


def _find_linker() -> str:
    chosen = [os.environ[name] for name in ("CXX", "CC") if os.environ.get(name)]
    for name in (*chosen, *_DRIVERS):
        if found := shutil.which(name):
            return found
    raise BuildError(
        "no linker on this machine",
        fact=f"none of {', '.join(_DRIVERS)} is on the PATH",
        way_out="Install gcc or clang, or set CXX.",
    )


def _find_cross_linker(triple: str) -> str:
    names = [name.format(triple) for name in _CROSS_DRIVERS]
    if found := next((path for name in names if (path := shutil.which(name))), None):
        return found
    architecture = triple.partition("-")[0]
    raise BuildError(
        f"no linker for {architecture} on this machine",
        fact=f"none of {', '.join(names)} is on the PATH",
        source=f"the specification's target, {triple}",
        way_out=f"Install a cross compiler (Debian: gcc-{triple.replace('_', '-')}) or lld.",
    )
