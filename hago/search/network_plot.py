"""The network as one plot: its groups from top to bottom, their precision, and what each costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from hago.figure import INK, LINE, Axes, Paint, draw_columns
from hago.search.findings import Findings, GroupFinding

# The colour of a precision is its place in this order, whatever the machine offers.
_COLOURS = {
    "float32": "#9aa5b1",
    "bfloat16": "#3b7dd8",
    "float16": "#3b7dd8",
    "int8": "#1f9d78",
    "uint8": "#7cc4a8",  # groups without weights
    "int8_pairs": "#d9822b",
    "int6": "#c9a227",
    "int4": "#c0392b",
}
_OTHER = "#8e44ad"
_WIDTH, _ROW, _REST = 10.8, 0.17, 0.9  # inches
_LONGEST = 30  # letters of a name
_BULGE = 0.4  # of an arc past one group; it grows with the logarithm
_ARC = np.linspace(0, math.pi, 13)
_PALE = 0.35  # opacity of what was not measured
_SENSITIVITIES = {"noise": "noise / signal,\nlowered alone", "first_order": "by gradients"}


def colour_of(precision: str) -> str:
    return _COLOURS.get(precision, _OTHER)


def network(findings: Findings, precisions: Sequence[str]) -> str:
    """The graph of groups with their ``precisions``; beside it the sensitivities of each option,
    and the weights, of each group."""
    names = [n for n in _SENSITIVITIES if all(getattr(g, n) for g in findings.groups)]
    columns: list[tuple[Paint, float]] = [
        (partial(_paint_graph, findings=findings, precisions=precisions), 2.2),
        *((partial(_paint_sensitivity, findings=findings, name=name), 1.5) for name in names),
        (partial(_paint_weights, findings=findings, precisions=precisions), 1.0),
    ]
    height = _REST + _ROW * len(findings.groups)
    return draw_columns(columns, (_WIDTH, height), "From the input to the output")


def _paint_graph(axes: Axes, findings: Findings, precisions: Sequence[str]) -> None:
    count = len(findings.groups)
    for first, second in findings.flow:
        axes.plot(*_arc(first, second), c=LINE, lw=1, zorder=1)
    axes.scatter(np.zeros(count), range(count), c=list(map(colour_of, precisions)), s=34, zorder=2)
    for row, (group, precision) in enumerate(zip(findings.groups, precisions, strict=True)):
        axes.text(0.5, row, _label(group, precision), fontsize=7, va="center", color=INK)
    axes.set_xlim(-_BULGE * (1 + math.log2(max(count, 2))), 6.5)
    axes.set_ylim(count - 0.4, -0.6)  # downwards
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _arc(first: int, second: int) -> tuple[list[float], list[float]]:
    """A line to the next group, a bow to the left past others."""
    if abs(second - first) == 1:
        return [0.0, 0.0], [first, second]
    middle, half = (first + second) / 2, (second - first) / 2
    width = _BULGE * math.log2(abs(second - first))
    return (-width * np.sin(_ARC)).tolist(), (middle - half * np.cos(_ARC)).tolist()


def _label(group: GroupFinding, precision: str) -> str:
    name = group.name if len(group.name) <= _LONGEST else f"{group.name[: _LONGEST - 2]}.."
    return f"{name}  {precision}"


def _paint_sensitivity(axes: Axes, findings: Findings, name: str) -> None:
    """A bar for each option below float32, on a logarithmic axis."""
    values = [getattr(group, name) for group in findings.groups]
    least = min((value for row in values for value in row if value > 0), default=1.0) / 2
    for row, (group, found) in enumerate(zip(findings.groups, values, strict=True)):
        low = list(zip(group.options, found, strict=True))[1:]
        thick = 0.8 / max(len(low), 1)
        alpha = _PALE if name == "noise" and not group.is_measured else 1.0
        for place, (option, value) in enumerate(low):
            middle = row - 0.4 + (place + 0.5) * thick
            length, colour = max(value, least), colour_of(option)
            axes.barh(middle, length, thick, left=0, color=colour, alpha=alpha)
    axes.set_xscale("log")
    axes.set_xlim(left=least)
    _finish(axes, _SENSITIVITIES[name])


def _paint_weights(axes: Axes, findings: Findings, precisions: Sequence[str]) -> None:
    weights = [group.weights / 1e3 for group in findings.groups]
    axes.barh(range(len(weights)), weights, 0.8, color=list(map(colour_of, precisions)))
    axes.locator_params(axis="x", nbins=3)
    _finish(axes, "weights,\nthousands")


def _finish(axes: Axes, title: str) -> None:
    """The scale is above, where a tall plot is read from."""
    axes.xaxis.tick_top()
    axes.set_title(title, fontsize=8, loc="left")
    axes.tick_params(left=False, labelleft=False)
    axes.spines[["bottom", "left"]].set_visible(False)
