"""The plots of a diagnosis, as SVG text."""

from __future__ import annotations

import numpy as np

from hago.diagnose.diagnosis import Diagnosis, EdgeDiagnosis
from hago.figure import INK, SHADE, Axes, draw

_ACTIVATION, _WEIGHT, _BAD = "#3b7dd8", "#1f9d78", "#d1495b"
_SMALL, _WIDE = (5.2, 2.6), 10.8  # inches
_NAMED = 60  # edges below an axis that can be read


def noise(found: Diagnosis) -> str:
    """The SQNR of the outputs, edge by edge in program order: alone as bars, so far as a line."""

    def paint(axes: Axes) -> None:
        edges = found.edges
        top = min(max(edge.alone_db for edge in edges), _ceiling(found))
        heights = np.minimum([edge.alone_db for edge in edges], top)
        colours = [_WEIGHT if edge.is_weight else _ACTIVATION for edge in edges]
        axes.bar(np.arange(len(edges)), top - heights, 0.8, bottom=heights, color=colours)
        axes.plot([min(edge.together_db, top) for edge in edges], c=INK, lw=1.2)
        for colour, label in ((_ACTIVATION, "activation alone"), (_WEIGHT, "weight alone")):
            axes.bar(0, 0, 0, bottom=top, color=colour, label=label)
        axes.plot([], c=INK, lw=1.2, label="all up to here")
        axes.legend(fontsize=7, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
        axes.set_ylabel("SQNR of the outputs [dB]")
        axes.invert_yaxis()  # upwards is noise
        _name_edges(axes, found)

    return draw(paint, (_WIDE, 3.8), "Where the noise comes from: higher is worse")


def _ceiling(found: Diagnosis) -> float:
    """So far above the whole's SQNR nothing matters, and 200 dB would flatten all the rest."""
    return min(edge.together_db for edge in found.edges) + 50.0


def _name_edges(axes: Axes, found: Diagnosis) -> None:
    step = 1 + len(found.edges) // _NAMED
    names = [edge.edge for edge in found.edges]
    axes.set_xticks(range(0, len(names), step))
    axes.set_xticklabels([_shortened(name) for name in names[::step]], rotation=90, fontsize=6)
    axes.set_xlim(-0.6, len(names) - 0.4)


def _shortened(name: str) -> str:
    return name if len(name) < 34 else f"{name[:32]}.."


def coarse(found: Diagnosis) -> str:
    """Own SQNR against that of the outputs: how coarse a tensor is, and how much it matters."""

    def paint(axes: Axes) -> None:
        limit = _ceiling(found)
        own, alone = (
            np.minimum([getattr(edge, name) for edge in found.edges], limit)
            for name in ("own_db", "alone_db")
        )
        colours = [_WEIGHT if edge.is_weight else _ACTIVATION for edge in found.edges]
        axes.scatter(own, alone, s=14, c=colours)
        for edge, offset in zip(found.worst(3), (6, -2, -10), strict=False):
            axes.annotate(edge.edge, (edge.own_db, edge.alone_db), fontsize=6,
                          textcoords="offset points", xytext=(5, offset))  # fmt: skip
        axes.set_xlabel("SQNR of the tensor itself [dB]")
        axes.set_ylabel("SQNR of the outputs [dB]")
        axes.invert_yaxis()

    return draw(paint, (5.2, 3.4), "Coarse (left) and costly (high)")


def histogram(edge: EdgeDiagnosis) -> str:
    """Float values against the grid: its range shaded, what is clipped red."""
    bars = edge.bars

    def paint(axes: Axes) -> None:
        counts = np.asarray(bars.counts)
        ends = bars.start + bars.width * np.arange(len(counts) + 1)
        middles = (ends[1:] + ends[:-1]) / 2
        is_clipped = ((middles < edge.low) | (middles > edge.high)) & (edge.clipped > 0)
        shown = max(edge.low, ends[0]), min(edge.high, ends[-1])
        axes.axvspan(*shown, color=SHADE, zorder=0)
        axes.stairs(np.where(is_clipped, 0, counts), ends, fill=True, color=_ACTIVATION)
        axes.stairs(np.where(is_clipped, counts, 0), ends, fill=True, color=_BAD)
        for end in shown:
            axes.axvline(end, c=INK, lw=0.8, ls=":")
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("in steps of its channel" if edge.is_weight else "value")
        axes.set_ylabel("values")

    return draw(paint, _SMALL, edge.edge)
