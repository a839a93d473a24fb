"""What a search is for: what to make small, and what must not be exceeded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from hago.errors import StrategyError

Objective = Literal["latency", "size", "accuracy"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)


@dataclass(frozen=True)
class Figures:
    """What is known of a strategy, measured or predicted; None where nothing is.

    ``noise`` is noise over signal power of the outputs, ``drop`` the loss of the metric against
    float32, in the metric's own unit (0.005 is half a percent of top-1).
    """

    noise: float | None = None
    drop: float | None = None
    latency_ms: float | None = None
    size_bytes: float | None = None


@dataclass(frozen=True)
class Goal:
    """Minimise ``objective`` ("accuracy": the drop) within the bounds that are given."""

    objective: Objective = "latency"
    max_drop: float | None = None
    max_latency_ms: float | None = None
    max_size_bytes: float | None = None

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise StrategyError(
                f"no objective '{self.objective}'", fact=f"it is one of {', '.join(OBJECTIVES)}"
            )
        bounds = (self.max_drop, self.max_latency_ms, self.max_size_bytes)
        if any(bound is not None and not 0 <= bound < float("inf") for bound in bounds):
            raise StrategyError("a bound is a finite number, and not negative")
        if self.objective != "accuracy" and self.max_drop is None:
            raise StrategyError(
                f"the objective '{self.objective}' needs a bound on accuracy",
                fact="otherwise the fewest bits are best, however wrong their results",
                way_out="Give --max-drop, or --objective accuracy with another bound.",
            )

    @property
    def needs_latency(self) -> bool:
        return self.objective == "latency" or self.max_latency_ms is not None

    @property
    def needs_size(self) -> bool:
        return self.objective == "size" or self.max_size_bytes is not None

    def violation(self, figures: Figures) -> float:
        """By how much bounds are exceeded, as shares of them; 0 where all are kept."""
        return sum(excess for _, excess in self.exceeded(figures))

    def exceeded(self, figures: Figures) -> Iterator[tuple[str, float]]:
        """The bounds that ``figures`` break, in words, and by which share."""
        for name, bound, value in (
            ("drop", self.max_drop, figures.drop),
            ("latency", self.max_latency_ms, figures.latency_ms),
            ("size", self.max_size_bytes, figures.size_bytes),
        ):
            if bound is not None and (value is None or value > bound):
                share = float("inf") if value is None else (value - bound) / max(bound, 1e-6)
                yield name, share

    def value(self, figures: Figures) -> float:
        """What is minimised; infinite where it is not known."""
        values = {
            "latency": figures.latency_ms,
            "size": figures.size_bytes,
            "accuracy": figures.drop,
        }
        found = values[self.objective]
        return float("inf") if found is None else found

    def rank(self, figures: Figures) -> tuple[float, float, float]:
        """Lower is better: bounds first, then the objective, then the noise."""
        noise = float("inf") if figures.noise is None else figures.noise
        return self.violation(figures), self.value(figures), noise
