"""The plots of a report, as SVG text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hago.figure import Axes, draw
from hago.search.findings import Findings
from hago.search.goal import Figures
from hago.search.records import Record

# The colour of a precision is its place in this order, whatever the machine offers.
_COLOURS = {
    "float32": "#9aa5b1",
    "bfloat16": "#3b7dd8",
    "float16": "#3b7dd8",
    "int8": "#1f9d78",
    "uint8": "#1f9d78",  # groups without weights
    "int7": "#d9822b",
    "int4": "#c0392b",
}
_OTHER = "#8e44ad"
_SMALL, _WIDE = (5.2, 3.6), 10.8  # inches
_SENSITIVITIES = {
    "noise": ("Sensitivity: each group lowered alone", "noise / signal"),
    "first_order": ("Sensitivity from gradients: expected change of the loss", "loss change^2"),
}


def colour_of(precision: str) -> str:
    return _COLOURS.get(precision, _OTHER)


def pareto(findings: Findings) -> str:
    """Drop against latency (or size) of all that was measured; the front is a line."""
    measured = [r for r in findings.records if r.measured is not None and not r.error]
    name, unit, cost = _cost_of(measured)

    def paint(axes: Axes) -> None:
        front = _front(measured, cost)
        axes.scatter(*_points(measured, cost), c="#b8c2cc", s=24, label="measured")
        axes.plot(*_points(front, cost), "-o", c="#1f9d78", ms=5, label="not beaten")
        if findings.best is not None:
            axes.scatter(*_points([findings.best], cost), c="#c0392b", s=70, marker="*", zorder=3,
                         label="best for the goal")  # fmt: skip
        if findings.goal.max_drop is not None:
            axes.axhline(findings.goal.max_drop, c="#c0392b", lw=0.8, ls=":", label="max drop")
        axes.set_xlabel(f"{name} [{unit}]")
        axes.set_ylabel(f"drop of {findings.metric}")
        axes.legend(fontsize=7, frameon=False)

    return draw(paint, _SMALL, "Accuracy lost against " + name)


def history(findings: Findings) -> str:
    """The best objective that keeps the bounds, trial by trial."""
    goal, best = findings.goal, float("inf")
    steps: list[tuple[int, float]] = []
    for record in findings.records:
        if record.measured is not None and not goal.violation(record.measured):
            best = min(best, goal.value(record.measured))
        if best < float("inf"):
            steps.append((record.trial, best))

    def paint(axes: Axes) -> None:
        if steps:
            axes.step(*zip(*steps, strict=True), where="post", c="#1f9d78")
        for record in findings.records:
            if record.measured is not None and not record.error:
                kept = not goal.violation(record.measured)
                axes.plot(record.trial, goal.value(record.measured), "o" if kept else "x", ms=4,
                          c="#1f9d78" if kept else "#c0392b")  # fmt: skip
        axes.set_xlabel("trial")
        axes.set_ylabel(f"{goal.objective} (x: breaks a bound)")

    return draw(paint, _SMALL, "History")


def predictions(findings: Findings, name: str) -> str:
    """Predicted against measured ``name``, a field of the figures, on logarithmic axes."""
    pairs = [
        (getattr(r.predicted, name), _found(r, name), r.trial) for r in findings.records
    ]
    known = [(p, m) for p, m, _ in pairs if p and m and p > 0 and m > 0]

    def paint(axes: Axes) -> None:
        if known:
            low, high = min(map(min, known)), max(map(max, known))
            axes.plot([low, high], [low, high], c="#9aa5b1", lw=0.8)
            axes.scatter(*zip(*known, strict=True), s=16, c="#3b7dd8")
            axes.set_xscale("log")
            axes.set_yscale("log")
        axes.set_xlabel("predicted")
        axes.set_ylabel("found")

    return draw(paint, _SMALL, f"{name.replace('_', ' ')}: predicted and found")


def sensitivity(findings: Findings, name: str = "noise") -> str:
    """The noise of each option of each group, alone; or another of its sensitivities."""
    title, unit = _SENSITIVITIES[name]
    least = min((v for g in findings.groups for v in getattr(g, name) if v > 0), default=1.0) / 2

    def paint(axes: Axes) -> None:
        for number, group in enumerate(findings.groups):
            low = list(zip(group.options, getattr(group, name), strict=True))[1:]
            for place, (option, value) in enumerate(low):
                middle = number + (place + 0.5) / len(low) * 0.8 - 0.4
                axes.bar(middle, max(value, least), 0.8 / len(low), color=colour_of(option))
        axes.set_yscale("log")
        axes.set_ylabel(unit)
        _name_groups(axes, findings)

    return draw(paint, (_WIDE, 3.4), title)


def strategy(findings: Findings, record: Record) -> str:
    """The precision of every group, in the order of the graph; the height is its weights."""

    def paint(axes: Axes) -> None:
        most = max((group.weights for group in findings.groups), default=1) or 1
        for number, (group, name) in enumerate(
            zip(findings.groups, record.precisions, strict=True)
        ):
            axes.bar(number, 0.15 + 0.85 * group.weights / most, 0.9, color=colour_of(name))
        axes.set_yticks([])
        axes.set_ylabel("weights")
        _name_groups(axes, findings)

    return draw(paint, (_WIDE, 2.6), f"Precision of each group in trial {record.trial}")


def _name_groups(axes: Axes, findings: Findings) -> None:
    """The groups below, and what the colours mean above."""
    options = dict.fromkeys(name for group in findings.groups for name in group.options)
    for name in options:
        axes.bar(0, 0, color=colour_of(name), label=name)
    axes.legend(fontsize=7, frameon=False, ncols=len(options), loc="lower right",
                bbox_to_anchor=(1, 1))  # fmt: skip
    names = [group.name for group in findings.groups]
    step = 1 + len(names) // 60
    axes.set_xticks(range(0, len(names), step))
    axes.set_xticklabels(names[::step], rotation=90, fontsize=6)
    axes.set_xlim(-0.6, len(names) - 0.4)


def _found(record: Record, name: str) -> float | None:
    known = record.measured if name == "latency_ms" else record.simulated
    return None if known is None else getattr(known, name)


def _cost_of(measured: Sequence[Record]) -> tuple[str, str, Callable[[Figures], float | None]]:
    """Latency where it was measured, otherwise size."""
    if any(r.measured is not None and r.measured.latency_ms is not None for r in measured):
        return "latency", "ms", lambda figures: figures.latency_ms
    return "size", "bytes", lambda figures: figures.size_bytes


def _front(
    measured: Sequence[Record], cost: Callable[[Figures], float | None]
) -> list[Record]:
    """Those that lose less than all that cost no more, from the cheapest on."""
    front: list[Record] = []
    least = float("inf")
    for record in sorted(measured, key=lambda r: _place(r, cost)):
        drop = _place(record, cost)[1]
        if drop < least:
            front.append(record)
            least = drop
    return front


def _place(record: Record, cost: Callable[[Figures], float | None]) -> tuple[float, float]:
    figures = record.measured or Figures()
    values = cost(figures), figures.drop
    first, second = (float("inf") if value is None else value for value in values)
    return first, second


def _points(
    records: Sequence[Record], cost: Callable[[Figures], float | None]
) -> tuple[list[float], list[float]]:
    pairs = [
        (x, y)
        for r in records
        if r.measured is not None
        and (x := cost(r.measured)) is not None
        and (y := r.measured.drop) is not None
    ]
    return [x for x, _ in pairs], [y for _, y in pairs]
