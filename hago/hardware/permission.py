"""What the operating system grants on request only: AMX's tiles.

Linux saves 8 KiB of tile data a thread for processes that asked for it; to others the first tile
instruction is an illegal one (SIGILL). Documentation/arch/x86/xstate.rst of the Linux kernel.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from functools import cache

from hago.errors import BuildError

_TILES = "amx_tile"
_SYS_ARCH_PRCTL = 158  # on x86-64
_ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 0x1023, 18


def refused_features(features: Iterable[str]) -> tuple[str, ...]:
    """Those of ``features`` that need a permission which this process does not get."""
    return (_TILES,) if _TILES in features and _request_tiles() else ()


def request_permissions(features: Iterable[str], where: str) -> None:
    """Asks for what code that uses the CPU ``features`` needs, once a process, for all threads.

    To be called before such code runs. Raises BuildError where it is refused.
    """
    if refused_features(features):
        raise BuildError(
            f"{where}: no permission to use AMX",
            fact=f"arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA): {os.strerror(_request_tiles())}",
            source="Linux, Documentation/arch/x86/xstate.rst",
            way_out="Use Linux 5.16 or later with AMX enabled, allow arch_prctl if a sandbox "
            "filters system calls, or compile the model for x86-vnni.",
        )


@cache
def _request_tiles() -> int:
    """0, or the errno of the refusal."""
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = (_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA)
    refused = libc.syscall(*map(ctypes.c_long, numbers))
    return ctypes.get_errno() if refused else 0
