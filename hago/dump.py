"""What the stages leave behind for an engineer who looks for a mistake.

``HAGO_DUMP=folder`` writes the module after each stage as text, numbered in order;
``HAGO_CHECK=1`` lets TVM check that each is well formed.
"""

from __future__ import annotations

import os
from pathlib import Path

from tvm import ir, relax

from hago.errors import DataError


def dump(module: ir.IRModule, stage: str) -> ir.IRModule:
    """``module`` itself. Raises DataError where the folder cannot be written."""
    if os.environ.get("HAGO_CHECK") == "1":
        relax.analysis.well_formed(module)
    folder = os.environ.get("HAGO_DUMP")
    if folder:
        _write(module, stage, Path(folder))
    return module


def _write(module: ir.IRModule, stage: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("*.py")))
        (folder / f"{number:02d}-{stage}.py").write_text(module.script())
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written",
            fact=str(error),
            source="the environment variable HAGO_DUMP",
            way_out="Set it to a folder of your own, or unset it.",
        ) from error
