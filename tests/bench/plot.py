"""The result as a picture: one group of bars a model, relative to the slowest contestant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.bench.compare import Comparison, Row
from tests.bench.contestant import Name

# One hue a runtime, darker for fewer bits.
_COLORS = {
    ("hago", "float32"): "#f4a582",
    ("hago", "bfloat16"): "#d6604d",
    ("hago", "int8"): "#b2182b",
    ("hago", "auto"): "#67001f",
    ("onnxruntime", "float32"): "#d9d9d9",
    ("onnxruntime", "int8"): "#737373",
    ("openvino", "float32"): "#c6dbef",
    ("openvino", "bfloat16"): "#6baed6",
    ("openvino", "int8"): "#08519c",
}


def plot(comparisons: Sequence[Comparison], path: Path) -> None:
    """Writes bars of median latency with their quartiles, on a logarithmic axis, to ``path``.

    The format is that of the name's ending (``.svg``, ``.png``).
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(row.name for one in comparisons for row in one.rows))
    figure, axes = pyplot.subplots(figsize=(2 + 1.6 * len(comparisons), 4.5), layout="constrained")
    for position, name in enumerate(names):
        _bars(axes, comparisons, name, position, len(names))
    axes.set_xticks(range(len(comparisons)), [one.model for one in comparisons])
    axes.set_yscale("log")
    axes.set_ylabel("median latency, ms (bars: quartiles)")
    axes.legend(ncols=2, fontsize="small")
    figure.savefig(path)
    pyplot.close(figure)


def _bars(
    axes: object, comparisons: Sequence[Comparison], name: Name, position: int, count: int
) -> None:
    """One contestant on every model that it ran."""
    found = [(place, _row_of(one, name)) for place, one in enumerate(comparisons)]
    present = [(place, row.spread) for place, row in found if row]
    width = 0.85 / count
    heights = [times.median_ms for _, times in present]
    low = [times.median_ms - times.q25_ms for _, times in present]
    high = [times.q75_ms - times.median_ms for _, times in present]
    axes.bar(  # type: ignore[attr-defined]  # matplotlib is imported in plot() only
        [place + (position - (count - 1) / 2) * width for place, _ in present],
        heights, width, yerr=[low, high], label=str(name),
        color=_COLORS.get((name.runtime, name.precision)), error_kw={"linewidth": 0.7},
        hatch="//" if name.variant == "dynamic" else None,
    )  # fmt: skip


def _row_of(comparison: Comparison, name: Name) -> Row | None:
    return next((row for row in comparison.rows if row.name == name), None)
