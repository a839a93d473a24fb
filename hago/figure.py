"""Plots as SVG text and pages as HTML text, from libraries that need not be there."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hago.errors import DataError

Axes = Any  # matplotlib's own types are only there where it is
Paint = Callable[[Axes], None]
Filter = Callable[..., object]

# Colours that are the page's: light by day, dark by night (page.css.jinja). matplotlib wants
# numbers, so these stand for them until the SVG is text.
INK, LINE, SHADE = "#010203", "#010204", "#010205"
_OF_THE_PAGE = {INK: "currentColor", LINE: "var(--line)", SHADE: "var(--shade)"}
_STYLE = {
    "svg.hashsalt": "hago",  # ids do not depend on chance
    "svg.fonttype": "none",  # text stays text: smaller, and can be searched
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


def draw(paint: Paint, size: tuple[float, float], title: str) -> str:
    """What ``paint`` makes of axes of ``size`` inches, as an <svg> element.

    Raises DataError where matplotlib is not installed.
    """
    return draw_columns([(paint, 1.0)], size, title)


def draw_columns(
    columns: Sequence[tuple[Paint, float]], size: tuple[float, float], title: str
) -> str:
    """Axes side by side, each with its share of the width; they have one vertical axis.

    Raises DataError where matplotlib is not installed.
    """
    mpl, figures, backends = _matplotlib()
    with mpl.rc_context(_STYLE):
        figure = figures.Figure(figsize=size, layout="constrained")
        widths = [width for _, width in columns]
        grid = figure.subplots(1, len(columns), sharey=True, squeeze=False, width_ratios=widths)
        grid[0][0].set_title(title, fontsize=9, loc="left")
        for (paint, _), axes in zip(columns, grid[0], strict=True):
            _paint(paint, axes)
        text = io.StringIO()
        # Without a date the same findings give the same page.
        backends.FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Title": title})
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return re.sub("|".join(_OF_THE_PAGE), lambda found: _OF_THE_PAGE[found[0]], svg)


def _paint(paint: Paint, axes: Axes) -> None:
    axes.tick_params(labelsize=7, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    paint(axes)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(8)


def fill_page(
    template: Path, filters: Mapping[str, Filter], **values: object
) -> str:
    """The jinja ``template`` with ``values``, everything escaped that is not marked safe.

    Raises DataError where jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise missing_library(error) from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
    )  # fmt: skip
    environment.filters.update(filters)
    return str(environment.get_template(template.name).render(**values))


def check_libraries() -> None:
    """Raises DataError where a page cannot be made: before the long work that it tells of."""
    try:
        import jinja2  # noqa: F401
    except ImportError as error:
        raise missing_library(error) from error
    _matplotlib()


def missing_library(error: ImportError) -> DataError:
    """What a user is told who lacks the extra."""
    return DataError(
        "a page needs matplotlib and jinja2",
        fact=str(error),
        way_out="Install hago[report], or use --json.",
    )


def _matplotlib() -> tuple[ModuleType, ModuleType, ModuleType]:
    try:
        import matplotlib as mpl
        from matplotlib import figure
        from matplotlib.backends import backend_svg
    except ImportError as error:
        raise missing_library(error) from error
    return mpl, figure, backend_svg
