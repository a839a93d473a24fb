"""A disk that takes nothing more: a fact about the computer, never about a trial."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from hago.errors import DataError

_FULL = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)))
AGAIN = "Make room there, and run the same command again: what was found by now is kept."


class DiskError(DataError):
    """Something cannot be written: whoever tries something else will fail, too."""


def check_room(what: str, failure: str) -> None:
    """Raises DiskError where ``failure``, as a worker told it, is of a full disk."""
    if any(text in failure for text in _FULL):
        raise DiskError(f"{what}: no room on a disk", fact=failure, way_out=AGAIN)


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that it is complete or as it was. Raises DiskError."""
    scratch = path.with_name(f".{path.name}")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        way_out = "Make room there, or take another place; then run the same command again."
        raise DiskError(f"{path}: cannot be written", fact=str(error), way_out=way_out) from error
