"""The plots of a report that are about trials, as SVG text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hago.figure import LINE, Axes, draw
from hago.search.findings import Findings
from hago.search.goal import Figures
from hago.search.records import Record

_GOOD, _BAD, _PLAIN, _FOUND = "#1f9d78", "#d1495b", "#9fb0c0", "#3b7dd8"
_SIZE = (5.2, 3.6)  # inches


@dataclass(frozen=True)
class Quantity:
    """A figure as an axis has it: ``value`` gives its number in ``unit``."""

    name: str
    unit: str
    value: Callable[[Figures], float | None]

    @property
    def label(self) -> str:
        return f"{self.name} [{self.unit}]"


_LATENCY = Quantity("latency", "ms", lambda figures: figures.latency_ms)
_SIZE_MB = Quantity("size", "MB", lambda figures: _scaled(figures.size_bytes, 1e-6))
_DROP = Quantity("drop", "%", lambda figures: _scaled(figures.drop, 100))
_OBJECTIVES = {"latency": _LATENCY, "size": _SIZE_MB, "accuracy": _DROP}


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def pareto(findings: Findings) -> str:
    """Drop against latency (or size) of all that was measured; the front is a line."""
    measured = findings.measured
    has_latency = any(_LATENCY.value(figures) is not None for _, figures in measured)
    cost = _LATENCY if has_latency else _SIZE_MB
    points = _points([figures for _, figures in measured], cost)
    best = [figures for record, figures in measured if record is findings.best]

    def paint(axes: Axes) -> None:
        _scatter(axes, points, c=_PLAIN, s=24, label="measured")
        axes.plot(*_split(_front(points)), "-o", c=_GOOD, ms=5, label="no other beats it")
        _scatter(axes, _points(best, cost), c=_BAD, s=90, marker="*", zorder=3,
                 label="best for the goal")  # fmt: skip
        if findings.goal.max_drop is not None:
            bound = 100 * findings.goal.max_drop
            axes.axhline(bound, c=_BAD, lw=0.8, ls=":", label="bound")
            axes.margins(y=0.1)
        axes.set_xlabel(cost.label)
        axes.set_ylabel(f"drop of {findings.metric} [%]")
        axes.legend(fontsize=7, frameon=False)

    return draw(paint, _SIZE, f"Accuracy lost against {cost.name}")


def history(findings: Findings) -> str:
    """The best objective that keeps the bounds, trial by trial."""
    goal, shown = findings.goal, _OBJECTIVES[findings.goal.objective]
    trials = [
        (record.trial, value, not goal.violation(figures))
        for record, figures in findings.measured
        if (value := shown.value(figures)) is not None
    ]
    steps = _steps(trials, len(findings.records))

    def paint(axes: Axes) -> None:
        if steps:
            axes.step(*_split(steps), where="post", c=_GOOD, lw=1.2, label="best so far")
        for is_kept, colour, marker, name in (
            (True, _GOOD, "o", "keeps the bounds"),
            (False, _BAD, "x", "breaks a bound"),
        ):
            found = [(trial, value) for trial, value, kept in trials if kept is is_kept]
            _scatter(axes, found, c=colour, s=16, marker=marker, label=name)
        axes.set_xlabel("trial")
        axes.set_ylabel(shown.label)
        axes.legend(fontsize=7, frameon=False)

    return draw(paint, _SIZE, "Trial by trial")


def predictions(findings: Findings, name: str) -> str:
    """Predicted against found ``name``, a field of the figures, on logarithmic axes."""
    pairs = [(getattr(r.predicted, name), _found(r, name)) for r in findings.records]
    known = [(p, m) for p, m in pairs if p and m and p > 0 and m > 0]

    def paint(axes: Axes) -> None:
        if known:
            low, high = min(map(min, known)), max(map(max, known))
            axes.plot([low, high], [low, high], c=LINE, lw=0.8)
            _scatter(axes, known, c=_FOUND, s=16)
            axes.set_xscale("log")
            axes.set_yscale("log")
        axes.set_xlabel("predicted")
        axes.set_ylabel("found")

    return draw(paint, _SIZE, _TITLES[name])


_TITLES = {"latency_ms": "Latency [ms]", "noise": "Noise / signal of the outputs"}


def _found(record: Record, name: str) -> float | None:
    known = record.measured if name == "latency_ms" else record.simulated
    return None if known is None else getattr(known, name)


def _steps(trials: Sequence[tuple[int, float, bool]], count: int) -> list[tuple[float, float]]:
    """The best value from each trial on that improved it, up to the last one."""
    steps: list[tuple[float, float]] = []
    for trial, value, is_kept in trials:
        if is_kept and (not steps or value < steps[-1][1]):
            steps.append((trial, value))
    return [*steps, (count - 1, steps[-1][1])] if steps else []


def _points(
    figures: Sequence[Figures], cost: Quantity
) -> list[tuple[float, float]]:
    pairs = [(cost.value(each), _DROP.value(each)) for each in figures]
    return [(x, y) for x, y in pairs if x is not None and y is not None]


def _front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that lose less than all that cost no more, from the cheapest on."""
    front: list[tuple[float, float]] = []
    for cost, drop in sorted(points):
        if not front or drop < front[-1][1]:
            front.append((cost, drop))
    return front


def _scatter(axes: Axes, points: Sequence[tuple[float, float]], **style: object) -> None:
    if points:
        axes.scatter(*_split(points), **style)


def _split(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
