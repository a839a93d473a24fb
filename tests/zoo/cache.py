"""Where built models are kept, and how a file gets there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def zoo_folder() -> Path:
    """The folder of built models: ``$HAGO_ZOO``, else ``~/.cache/hago/zoo``."""
    chosen = os.environ.get("HAGO_ZOO")
    return Path(chosen) if chosen else Path.home() / ".cache" / "hago" / "zoo"


def write_whole(path: Path, write: Callable[[Path], None]) -> Path:
    """Let `write` fill a file beside `path`, then give it that name in one step.

    An interrupted or failing `write` leaves what stood at `path` before, or nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as folder:
        unfinished = Path(folder) / path.name
        write(unfinished)
        unfinished.replace(path)
    return path
