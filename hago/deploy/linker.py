"""Links object files to a shared library with whatever linker the machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from hago.errors import BuildError

# A compiler driver finds its own linker; a bare linker is enough too, since the objects use only
# what the process already has (libtvm_ffi, libc, libm).
_DRIVERS = ("c++", "g++", "clang++", "cc", "gcc", "clang", "ld.lld", "ld")


def link_shared(output: str, objects: list[str], options: list[str] | None = None) -> None:
    """Writes the shared library ``output`` from relocatable ``objects``, without debug sections.

    ``$CXX`` or ``$CC`` are tried first. Raises BuildError where there is no linker or it fails.
    """
    command = [_find_linker(), "-shared", "-s", "-o", output, *objects, *(options or ())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(
            f"{Path(output).name}: linking failed",
            fact=done.stderr.strip() or f"exit status {done.returncode}",
            source=" ".join(command[:2]),
            way_out="Set CXX to a working compiler driver.",
        )


link_shared.object_format = "o"  # type: ignore[attr-defined]  # read by TVM's export_library


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
