"""A search's folder: what it is about, what was tried, and the best artifact so far.

    session.json      what the records are about; checked before they are believed
    records.jsonl     the trials, appended; records-1.jsonl .. those of earlier conditions
    problem.json      groups, sensitivities, sub-graphs: for reports
    sensitivity.json  what trials are proposed by: a search that goes on takes the same
    kernels           the schedules that kernels had won with when the session began
    best              a link to the artifact of the best strategy, exchanged in one step
    best.jsonl        the record of that trial: with it, best outlives the loss of the others
    lock              held while a process works on the session
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hago.errors import DataError
from hago.report import Json
from hago.search.disk import write_whole
from hago.search.records import (
    Log,
    Record,
    append_record,
    drop_cut_off_line,
    read_records,
)
from hago.search.session_files import (
    ABOUT,
    FORMAT,
    PROBLEM,
    RECORDS,
    SENSITIVITY,
    read_object,
)
from hago.search.winners import Winners

_KERNELS, _BEST = "kernels", "best.jsonl"
Identity = Mapping[str, str]
# What figures depend on and a search does not: hago and TVM, and where they were measured.
_CONDITIONS = frozenset({"machine", "threads", "version"})


@dataclass(frozen=True)
class Session:
    """An open session: nobody else writes to ``folder``."""

    folder: Path

    def check(self, identity: Identity, anew: bool = False) -> None:
        """Notes what a new session is about. Raises DataError where an old one is about something
        else, was measured under other conditions (unless it is to begin ``anew``), or is damaged.
        """
        about = read_object(self.folder / ABOUT)
        found = identity if about is None else about["identity"]
        assert isinstance(found, Mapping)
        other = sorted(k for k in {*found, *identity} if found.get(k) != identity.get(k))
        if other and set(other) <= _CONDITIONS and anew:
            self._set_aside()
        elif other:
            raise _refusal(self.folder, found, identity, other)
        if about is None or other:
            text = json.dumps({"format": FORMAT, "identity": dict(identity)}, indent=1)
            write_whole(self.folder / ABOUT, text + "\n")

    def _set_aside(self) -> None:
        """Keeps the records under another name, and the best until something is measured anew."""
        number = 1 + len(list(self.folder.glob("records-*.jsonl")))
        if (self.folder / RECORDS).exists():
            (self.folder / RECORDS).rename(self.folder / f"records-{number}.jsonl")
        if self.kept_trial() is not None:
            kept = self.folder / f"artifact-before-{number}"
            shutil.copytree(self.best, kept, dirs_exist_ok=True)
            self._link(kept)
        shutil.rmtree(self.folder / _KERNELS, ignore_errors=True)
        (self.folder / SENSITIVITY).unlink(missing_ok=True)

    def kernels(self, known: Winners) -> Winners:
        """``known`` as it was when the session began: what is raced since changes no trial.

        Raises DataError where it cannot be written down.
        """
        kept, scratch = self.folder / _KERNELS, self.folder / f".{_KERNELS}"
        if not kept.exists():
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            known.copy_to(scratch)
            scratch.rename(kept)
        return known.kept_in(kept)

    def records(self) -> Log:
        """The trials so far; what a kill cut off is removed.

        The best is among them even where its line is lost: otherwise the next trial, which may be a
        worse one, would take its place.
        """
        path = self.folder / RECORDS
        drop_cut_off_line(path)
        log, kept = read_records(path), self.kept_trial()
        best = [r for r in read_records(self.folder / _BEST).records if r.trial == kept]
        lost = tuple(record for record in best if record not in log.records)
        for record in lost:
            self.append(record)
        return replace(log, records=(*log.records, *lost))

    @property
    def best(self) -> Path:
        return self.folder / "best"

    def kept_trial(self) -> int | None:
        """The number of the trial whose artifact is the best; None where there is none."""
        try:
            return int(self.best.readlink().name.removeprefix("artifact-"))
        except (OSError, ValueError):
            return None

    @property
    def candidate(self) -> Path:
        """Where the artifact of the trial under way is built."""
        return self.folder / "candidate"

    def append(self, record: Record) -> None:
        append_record(self.folder / RECORDS, record)

    def keep(self, candidate: Path, record: Record) -> None:
        """``candidate``, the artifact of ``record``, becomes the best: before and after this there
        is a whole one."""
        kept = self.folder / f"artifact-{record.trial}"
        shutil.rmtree(kept, ignore_errors=True)
        candidate.rename(kept)
        write_whole(self.folder / _BEST, record.to_line())
        self._link(kept)

    def _link(self, kept: Path) -> None:
        link = self.folder / ".best"
        link.unlink(missing_ok=True)
        link.symlink_to(kept.name)
        link.replace(self.best)
        for old in self.folder.glob("artifact-*"):
            if old.name != kept.name:
                shutil.rmtree(old, ignore_errors=True)

    def write_problem(self, problem: Mapping[str, Json]) -> None:
        write_whole(self.folder / PROBLEM, json.dumps(problem))

    def write_sensitivity(self, found: Mapping[str, Json]) -> None:
        write_whole(self.folder / SENSITIVITY, json.dumps(found))

    def sensitivity(self) -> dict[str, Json]:
        """What was written; nothing where nothing was, or it is damaged: it is found anew."""
        with suppress(DataError):
            return read_object(self.folder / SENSITIVITY) or {}
        return {}


@contextmanager
def open_session(folder: Path) -> Iterator[Session]:
    """The session in ``folder``, new or as it was left; locked until the context ends.

    Raises DataError where it is in use, or the folder cannot be written or holds something else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_folder(folder)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        way_out = "Give another folder with --session."
        raise DataError(f"{folder}: no session", fact=str(error), way_out=way_out) from error
    with lock:
        _take(lock.fileno(), folder)
        yield Session(folder)


def _check_folder(folder: Path) -> None:
    """A folder that holds other things than a session, or one that began, is left alone."""
    begun = {"lock", f".{ABOUT}"}
    if (folder / ABOUT).exists() or {path.name for path in folder.iterdir()} <= begun:
        return
    raise DataError(
        f"{folder}: not empty, and no session",
        fact="hago writes only to folders that are new or its own",
        way_out="Give another folder with --session.",
    )


def _take(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(handle, 20, 0).decode(errors="replace").strip()
        raise DataError(
            f"{folder}: in use",
            fact=f"process {owner or '?'} is working on this session",
            way_out="Wait for it, stop it, or give another folder with --session.",
        ) from error
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)


def _refusal(
    folder: Path, found: Mapping[str, object], identity: Identity, other: list[str]
) -> DataError:
    """Another search, or the same one under conditions in which latencies are other ones."""
    is_same_search = set(other) <= _CONDITIONS
    name = next((each for each in other if each not in _CONDITIONS), other[0])
    more = [each for each in other if each != name]
    what = "measured under other conditions" if is_same_search else "a session about something else"
    return DataError(
        f"{folder}: {what}",
        fact=f"its {name} is {found.get(name)}, not {identity.get(name)}"
        + (f"; {', '.join(more)} differ, too" if more else ""),
        source=str(folder / ABOUT),
        way_out="Give --anew to measure again in this folder: the records so far are kept beside."
        if is_same_search
        else "Give what it was started with, or begin anew with another --session.",
    )
