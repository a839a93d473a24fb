"""The files of a session, as a search and its reports read them: whole, or an error that says why.
"""

from __future__ import annotations

import json
from pathlib import Path

from hago.errors import DataError
from hago.report import Json
from hago.search.records import Log, read_records

FORMAT = 1
ABOUT, RECORDS, PROBLEM = "session.json", "records.jsonl", "problem.json"
SENSITIVITY = "sensitivity.json"
_LARGEST = 1 << 20  # bytes of a session.json: hago's own have a few hundred
_WAYS_OUT = {
    ABOUT: "Give another folder with --session; the records in this one stay readable.",
    PROBLEM: "Run 'hago tune' on the session once more: it writes the file anew.",
    SENSITIVITY: "Remove it: it is found anew.",
}


def read_session(folder: Path) -> tuple[dict[str, Json], dict[str, Json], Log]:
    """session.json, problem.json and the records, without a lock: for reports.

    Raises DataError where the folder is no session.
    """
    about = read_object(folder / ABOUT)
    problem = read_object(folder / PROBLEM)
    if about is None or problem is None:
        raise DataError(
            f"{folder}: no session, or none that has found anything yet",
            fact="it lacks session.json or problem.json" if folder.is_dir() else "no such folder",
            way_out="Give the folder that 'hago tune --session' wrote.",
        )
    return about, problem, read_records(folder / RECORDS)


def read_object(path: Path) -> dict[str, Json] | None:
    """The object in a file of ours; None where there is no file. Raises DataError."""
    try:
        if not path.exists():
            return None
        if path.stat().st_size > _LARGEST and path.name == ABOUT:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise TypeError(f"a {type(found).__name__}, not an object")
        if path.name == ABOUT and (
            found.get("format") != FORMAT or not isinstance(found.get("identity"), dict)
        ):
            raise ValueError(f"it is not of format {FORMAT}")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise damaged(path, error) from error
    return found


def damaged(path: Path, error: Exception) -> DataError:
    """What to raise for a file of a session whose content made ``error``."""
    fact = f"{type(error).__name__}: {error}"
    return DataError(f"{path}: damaged", fact=fact, way_out=_WAYS_OUT[path.name])
