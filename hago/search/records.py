"""What was tried: one JSON line a trial, appended, never rewritten."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from operator import contains
from pathlib import Path
from typing import Any

from hago.errors import DataError
from hago.search.disk import AGAIN, DiskError
from hago.search.goal import Figures, Goal


@dataclass(frozen=True)
class Record:
    """A trial: the precision of every group, and what was predicted and found.

    ``simulated`` is from the simulated module (noise and drop), ``measured`` from the compiled
    artifact; each is None where it was not done. ``is_timed`` is true where all sub-graphs were
    measured. ``error`` says why a trial failed. ``sensitivities`` counts the groups that had been
    lowered alone by then.
    """

    trial: int
    proposer: str
    precisions: tuple[str, ...]
    predicted: Figures
    simulated: Figures | None = None
    measured: Figures | None = None
    is_timed: bool = False
    error: str = ""
    seconds: float = 0.0
    sensitivities: int = 0

    @property
    def known(self) -> Figures:
        """The best that is known: measured before simulated before predicted."""
        layers = [each for each in (self.measured, self.simulated, self.predicted) if each]
        return Figures(*(_first(layers, field.name) for field in fields(Figures)))

    def to_line(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":")) + "\n"


def _first(layers: list[Figures], name: str) -> float | None:
    values = (getattr(layer, name) for layer in layers)
    return next((value for value in values if value is not None), None)


@dataclass(frozen=True)
class Log:
    """The records of a file, in order, and how many of its lines could not be read."""

    records: tuple[Record, ...]
    damaged: int = 0


def read_records(path: Path) -> Log:
    """The records of ``path``; a missing file has none.

    A line that was cut off by a kill is dropped, any other that is damaged is skipped and counted.
    Raises DataError where the file cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return Log(())
    except OSError as error:
        raise DataError(f"{path}: cannot be read", fact=str(error)) from error
    found = [_parse(line) for line in lines[:-1]]
    records = tuple(record for record in found if record is not None)
    return Log(records, len(found) - len(records))


def fitting(log: Log, options: Sequence[Collection[str]]) -> Log:
    """``log`` without what is not about groups with these ``options``: damaged, too."""
    kept = tuple(
        record
        for record in log.records
        if len(record.precisions) == len(options)
        and all(map(contains, options, record.precisions))
    )
    return Log(kept, log.damaged + len(log.records) - len(kept))


def best_record(records: Sequence[Record], goal: Goal) -> Record | None:
    """The best of what was measured, by ``goal``; None before there is anything."""
    ranked = [
        (goal.rank(record.measured), record.trial, record)
        for record in records
        if record.measured is not None and not record.error
    ]
    return min(ranked, key=lambda each: each[:2])[2] if ranked else None


def append_record(path: Path, record: Record) -> None:
    """Adds ``record``; when this returns it is on the disk. Raises DiskError."""
    try:
        with path.open("ab") as stream:
            stream.write(record.to_line().encode())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise DiskError(f"{path}: cannot be written", fact=str(error), way_out=AGAIN) from error


def drop_cut_off_line(path: Path) -> None:
    """Removes what a kill left behind the last complete line."""
    if path.is_file():
        text = path.read_bytes()
        os.truncate(path, text.rfind(b"\n") + 1)


def _parse(line: bytes) -> Record | None:
    try:
        return _record(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _record(found: Mapping[str, Any]) -> Record:
    precisions = tuple(found["precisions"])
    if not all(isinstance(text, str) for text in (found["proposer"], found["error"], *precisions)):
        raise TypeError("text was expected")
    predicted = _figures(found["predicted"])
    if predicted is None or isinstance(found["trial"], bool):
        raise TypeError("a prediction and a number were expected")
    return Record(
        trial=int(found["trial"]),
        proposer=found["proposer"],
        precisions=precisions,
        predicted=predicted,
        simulated=_figures(found["simulated"]),
        measured=_figures(found["measured"]),
        is_timed=bool(found["is_timed"]),
        error=found["error"],
        seconds=float(found["seconds"]),
        sensitivities=int(found.get("sensitivities", 0)),
    )


def _figures(found: Mapping[str, float | None] | None) -> Figures | None:
    if found is None:
        return None
    known = {k: None if v is None else float(v) for k, v in found.items()}
    if not all(value is None or isfinite(value) for value in known.values()):
        raise ValueError("finite numbers were expected")
    return Figures(**known)
