"""What a report tells of a session: what was searched, and what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hago.report import Json
from hago.search.flow import find_flow
from hago.search.goal import Figures, Goal
from hago.search.loss import rank_correlation
from hago.search.records import Log, Record, best_record, fitting
from hago.search.session_files import PROBLEM, damaged, read_session

if TYPE_CHECKING:
    from hago.search.sensitivity import Sensitivity
    from hago.search.space import Group
    from hago.search.subject import Subject


@dataclass(frozen=True)
class GroupFinding:
    """A group as problem.json has it.

    By option, the group alone being lowered: ``noise`` of the outputs, ``loss_change`` as it was
    found, and as its gradients foretell it (``first_order``, empty where there are none). All are
    empty before they are known; the noise is foretold where the group was not ``is_measured``.
    """

    name: str
    edges: tuple[str, ...]
    options: tuple[str, ...]
    weights: int
    is_measured: bool = False
    noise: tuple[float, ...] = ()
    loss_change: tuple[float, ...] = ()
    first_order: tuple[float, ...] = ()


@dataclass(frozen=True)
class Findings:
    """Everything that a report tells. ``flow`` is :func:`hago.search.flow.find_flow`'s, empty in
    sessions from before it was told."""

    folder: Path
    model: str
    hardware: str
    metric: str
    samples: int
    strategies: int
    goal: Goal
    identity: Mapping[str, str]
    groups: tuple[GroupFinding, ...]
    failures: Mapping[str, str]
    records: tuple[Record, ...]
    damaged_lines: int
    no_gradients: str
    flow: tuple[tuple[int, int], ...]

    def ranks(self, name: str) -> float | None:
        """How well the sensitivity ``name`` ranks the changes of the loss, where these were
        measured; None: not known."""
        measured = [group for group in self.groups if group.is_measured]
        rows = [getattr(group, name) for group in measured]
        if not all(rows):
            return None
        return rank_correlation(rows, [group.loss_change for group in measured])

    @property
    def sensitivities(self) -> int:
        """The groups whose sensitivities were measured."""
        return sum(group.is_measured for group in self.groups)

    @property
    def measured(self) -> list[tuple[Record, Figures]]:
        """The trials that were measured, without those that failed, and what was found."""
        return [(r, r.measured) for r in self.records if r.measured is not None and not r.error]

    @property
    def best(self) -> Record | None:
        """The best that was measured, by the goal of the session's last run."""
        return best_record(self.records, self.goal)

    @property
    def floats(self) -> Record | None:
        """The measured trial of all-float32, which others are compared with."""
        return next((r for r, _ in self.measured if set(r.precisions) == {"float32"}), None)

    @property
    def seconds(self) -> float:
        return sum(record.seconds for record in self.records)

    def to_json(self) -> dict[str, Json]:
        found: dict[str, Json] = {
            "session": str(self.folder),
            "model": self.model,
            "hardware": self.hardware,
            "metric": self.metric,
            "samples": self.samples,
            "strategies": str(self.strategies),
            "goal": asdict(self.goal),
            "identity": dict(self.identity),
            "best": None if self.best is None else self.best.trial,
            "seconds": self.seconds,
            "damaged_lines": self.damaged_lines,
            "failures": dict(self.failures),
            "no_gradients": self.no_gradients,
            "sensitivities": self.sensitivities,
            "rank_correlation": {name: self.ranks(name) for name in ("noise", "first_order")},
        }
        groups: list[Json] = [_lists(asdict(group)) for group in self.groups]
        records: list[Json] = [_lists(asdict(record)) for record in self.records]
        return {**found, "groups": groups, "records": records}


def problem_of(
    subject: Subject, known: Sensitivity | None, failures: Mapping[str, str]
) -> dict[str, Json]:
    """What a search knows beside its records, as :func:`read_findings` reads it."""
    groups = [_finding(number, group, known) for number, group in enumerate(subject.space.groups)]
    return {
        "model": subject.request.model.name,
        "hardware": subject.spec.name,
        "metric": subject.request.metric,
        "samples": len(subject.samples),
        "goal": asdict(subject.request.goal),
        "strategies": str(subject.space.size),
        "groups": [_lists(asdict(group)) for group in groups],
        "flow": [list(pair) for pair in find_flow(subject.numbers.graph, subject.space)],
        "no_gradients": "" if known is None else known.missing,
        "segments": [_lists(asdict(segment)) for segment in subject.segments],
        "failures": dict(failures),
    }


def _finding(number: int, group: Group, known: Sensitivity | None) -> GroupFinding:
    found = GroupFinding(
        name=group.name,
        edges=tuple(map(str, group.edges)),
        options=tuple(option.name for option in group.options),
        weights=group.weights,
    )
    if known is None:
        return found
    return replace(
        found,
        is_measured=number in known.measured,
        noise=known.noise[number],
        loss_change=known.loss_change[number],
        first_order=known.first_order[number] if known.first_order else (),
    )


def read_findings(folder: Path) -> Findings:
    """The findings of a session. Raises DataError where it is none, or damaged."""
    about, problem, log = read_session(folder)
    try:
        return _findings(folder, about, problem, log)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(folder / PROBLEM, error) from error


def _findings(
    folder: Path,
    about: Mapping[str, Any],
    problem: Mapping[str, Any],
    log: Log,
) -> Findings:
    groups = tuple(map(_group, problem["groups"]))
    log = fitting(log, [group.options for group in groups])
    return Findings(
        folder=folder,
        model=str(problem["model"]),
        hardware=str(problem["hardware"]),
        metric=str(problem["metric"]),
        samples=int(problem["samples"]),
        strategies=int(problem["strategies"]),
        goal=Goal(**problem["goal"]),
        identity={str(k): str(v) for k, v in about["identity"].items()},
        groups=groups,
        failures={str(k): str(v) for k, v in problem["failures"].items()},
        records=log.records,
        damaged_lines=log.damaged,
        no_gradients=str(problem.get("no_gradients", "")),
        flow=tuple((int(first), int(second)) for first, second in problem.get("flow", ())),
    )


def _group(found: Mapping[str, Any]) -> GroupFinding:
    return GroupFinding(
        name=str(found["name"]),
        edges=tuple(map(str, found["edges"])),
        options=tuple(map(str, found["options"])),
        weights=int(found["weights"]),
        is_measured=bool(found.get("is_measured", True)),
        noise=tuple(map(float, found["noise"])),
        loss_change=tuple(map(float, found.get("loss_change", ()))),
        first_order=tuple(map(float, found.get("first_order", ()))),
    )


def _lists(found: Mapping[str, Any]) -> dict[str, Json]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in found.items()}
