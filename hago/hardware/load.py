"""Finding, running and writing out hardware specifications."""

from __future__ import annotations

import difflib
import hashlib
import json
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

from hago.errors import SpecError
from hago.hardware.spec import HardwareSpec, Operand, OpSupport

_PACKAGED = Path(__file__).resolve().parent.parent / "hwspecs"
_CHECKOUT = Path(__file__).resolve().parents[2] / "hwspecs"


def spec_folder() -> Path:
    """Where the built-in specifications lie: in the package, or beside it in a checkout."""
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


def list_specs() -> tuple[str, ...]:
    """Names of the built-in machines."""
    return tuple(sorted(p.stem.replace("_", "-") for p in spec_folder().glob("*.py")))


def load_spec(name: str | Path) -> HardwareSpec:
    """The machine of a built-in ``name``, or of a file on disk.

    Raises SpecError naming the file and line of what is wrong.
    """
    text = str(name)
    if text in list_specs():
        return _run(spec_folder() / f"{text.replace('-', '_')}.py")
    path = Path(text)
    if path.suffix == ".py" or path.exists():
        return _run(path)
    close = difflib.get_close_matches(text, list_specs(), n=1)
    hint = f"Did you mean '{close[0]}'? " if close else ""
    raise SpecError(
        f"no machine called '{text}'",
        fact=f"hago knows {', '.join(list_specs())}",
        way_out=f"{hint}Give one of these, or the path of a specification file.",
    )


def _run(path: Path) -> HardwareSpec:
    if not path.is_file():
        raise SpecError(f"{path}: no such file", way_out="Give the path of a specification file.")
    try:
        values = runpy.run_path(str(path))
    except SpecError:
        raise
    except (Exception, SystemExit) as error:  # a specification is a user's program
        line = _line_in(path, error)
        raise SpecError(
            f"{path}: the specification raised {type(error).__name__}",
            fact=str(error),
            source=f"{path}:{line}",
            way_out="Run 'hago spec check FILE' after mending it.",
        ) from error
    machines = [value for value in values.values() if isinstance(value, HardwareSpec)]
    if len(machines) != 1:
        raise SpecError(
            f"{path}: {len(machines)} machines",
            fact="a specification binds exactly one machine(...)",
            way_out="Write MACHINE = machine(...) once.",
        )
    return machines[0]


def _line_in(path: Path, error: BaseException) -> int:
    """The last line of ``path`` that the error went through."""
    if isinstance(error, SyntaxError):
        return error.lineno or 0
    frames = traceback.extract_tb(sys.exc_info()[2])
    lines = [frame.lineno or 0 for frame in frames if Path(frame.filename) == path]
    return lines[-1] if lines else 0


def spec_to_json(spec: HardwareSpec) -> dict[str, Any]:
    """The data form of a machine: names, numbers and strings only."""
    return {
        "name": spec.name,
        "description": spec.description,
        "target": spec.target,
        "needs": list(spec.features),
        "memory": {
            "l1": spec.memory.l1,
            "l2": spec.memory.l2,
            "l3": spec.memory.l3,
            "bandwidth": spec.memory.bandwidth,
        },
        "ops": [_row(row) for row in spec.ops],
    }


def _row(row: OpSupport) -> dict[str, Any]:
    return {
        "op": row.op,
        "inputs": [_operand(operand) for operand in row.inputs],
        "accumulator": {
            "dtype": str(row.accum.dtype),
            "saturates": row.accum.saturates,
            "terms": row.accum.terms,
        },
        "gives": [str(dtype) for dtype in row.output],
        "requantize": row.requantize,
        "align": {"k": row.alignment.k, "n": row.alignment.n, "m": row.alignment.m},
        "intrinsic": row.intrinsic,
        "throughput": row.throughput,
    }


def _operand(operand: Operand) -> dict[str, Any]:
    return {
        "dtype": str(operand.dtype),
        "granularity": list(operand.granularity),
        "zero_point": operand.zero_point,
        "storage": str(operand.storage) if operand.storage else None,
    }


def spec_digest(spec: HardwareSpec) -> str:
    """SHA-256 of the data form: two files that say the same have the same digest."""
    canonical = json.dumps(spec_to_json(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
