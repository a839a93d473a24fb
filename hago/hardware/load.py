"""Finding, running and writing out hardware specifications."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import runpy
import sys
from pathlib import Path
from typing import Any

from hago.errors import SpecError
from hago.hardware.mistakes import hint_for, line_in
from hago.hardware.spec import HardwareSpec, Operand, OpSupport

_PACKAGED = Path(__file__).resolve().parent.parent / "hwspecs"
_CHECKOUT = Path(__file__).resolve().parents[2] / "hwspecs"
_MOST_BYTES = 1 << 20  # the built-in ones have 4,000


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
    """The machine that the file binds."""
    source = _read(path)
    try:
        # A specification that prints must not mix with what hago prints for programs.
        with contextlib.redirect_stdout(sys.stderr):
            values = runpy.run_path(str(path))
    except SpecError:
        raise
    except (Exception, SystemExit) as error:  # a specification is a user's program
        line = line_in(path, error)
        raise SpecError(
            f"{path}: the specification raised {type(error).__name__}",
            fact=str(error),
            source=f"{path}:{line}" if line else str(path),
            way_out=f"{hint_for(error)}'hago spec check FILE' shows the next mistake.",
        ) from error
    machines = {id(value): value for value in values.values() if isinstance(value, HardwareSpec)}
    if len(machines) != 1:
        names = ", ".join(spec.name for spec in machines.values())
        raise SpecError(
            f"{path}: {len(machines)} machines{f' ({names})' if names else ''}",
            fact="a specification binds exactly one machine(...)",
            source=f"{path}:{source.count(chr(10)) + 1}",
            way_out="Write MACHINE = machine(...) once.",
        )
    return next(iter(machines.values()))


def _read(path: Path) -> str:
    """The text of a specification file."""
    if not path.is_file():
        fact = "it is a folder" if path.is_dir() else "no such file"
        raise SpecError(f"{path}: {fact}", way_out="Give the path of a specification file.")
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise SpecError(
            f"{path}: too large for a specification",
            fact=f"it has {size} bytes, more than {_MOST_BYTES}",
            way_out="Give the path of a specification file.",
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"{path}: the file cannot be read as text",
            fact=str(error),
            way_out="Give the path of a specification file.",
        ) from error


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
        **({"is_model": True} if spec.is_model else {}),
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
