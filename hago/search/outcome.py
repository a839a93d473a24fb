"""What a search found, for people and programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from hago.report import Json
from hago.search.cost_model import ModelError
from hago.search.goal import Figures, Goal
from hago.search.metrics import Doubt
from hago.search.records import Record

Stop = Literal["budget", "trials", "nothing left", "interrupted"]


@dataclass(frozen=True)
class Outcome:
    """The state of a session. ``best`` is the trial whose artifact is in ``artifact``;
    ``sensitivities`` counts the groups that were lowered alone; ``step`` is the least drop that a
    metric that counts can tell, 0 of others, and ``doubt`` what the best's says of new data."""

    session: Path
    model: str
    hardware: str
    goal: Goal
    groups: int
    strategies: int
    records: tuple[Record, ...]
    best: Record | None
    artifact: Path
    stopped: Stop
    seconds: float
    cost_model: ModelError | None = None
    damaged_lines: int = 0
    sensitivities: int = 0
    step: float = 0.0
    doubt: Doubt | None = None

    @property
    def is_met(self) -> bool:
        """Whether the best keeps all bounds."""
        return self.best is not None and not self.goal.violation(self.best.known)

    @property
    def floats(self) -> Record | None:
        """The trial of all-float32, which others are compared with."""
        return next((r for r in self.records if set(r.precisions) == {"float32"}), None)

    @property
    def errors(self) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.error)

    @property
    def precisions(self) -> Mapping[str, int]:
        """How many groups of the best have each precision."""
        return Counter(self.best.precisions) if self.best else {}

    def to_json(self) -> dict[str, Json]:
        return {
            "session": str(self.session),
            "model": self.model,
            "hardware": self.hardware,
            "goal": asdict(self.goal),
            "groups": self.groups,
            "sensitivities": self.sensitivities,
            "step": self.step,
            "doubt": None if self.doubt is None else asdict(self.doubt),
            "strategies": str(self.strategies),
            "trials": len(self.records),
            "measured": sum(record.measured is not None for record in self.records),
            "errors": len(self.errors),
            "met": self.is_met,
            "stopped": self.stopped,
            "seconds": self.seconds,
            "artifact": str(self.artifact),
            "best": None if self.best is None else _json(self.best),
            "float32": None if self.floats is None else _json(self.floats),
            "precisions": dict(self.precisions),
            "front": [_json(record) for record in pareto_front(self.records)],
            "cost_model": None if self.cost_model is None else asdict(self.cost_model),
            "damaged_lines": self.damaged_lines,
        }


def _json(record: Record) -> dict[str, Json]:
    found: dict[str, Json] = asdict(record)
    return {**found, "precisions": list(record.precisions)}


def pareto_front(records: Sequence[Record]) -> list[Record]:
    """The measured trials that no other one beats or equals in drop, latency and size together.

    From the lowest latency (or size) on.
    """
    measured = [record for record in records if record.measured is not None and not record.error]
    front = [r for r in measured if not any(_beats(other, r) for other in measured)]
    return sorted(front, key=lambda record: _costs(record)[1:])


def _beats(one: Record, other: Record) -> bool:
    left, right = _costs(one), _costs(other)
    if left == right:
        return one.trial < other.trial
    return all(a <= b for a, b in zip(left, right, strict=True))


def _costs(record: Record) -> tuple[float, float, float]:
    figures = record.measured or Figures()
    unknown = float("inf")
    values = (figures.drop, figures.latency_ms, figures.size_bytes)
    drop, latency, size = (unknown if value is None else value for value in values)
    return max(drop, 0.0), latency, size
