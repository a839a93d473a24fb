"""Plots as SVG text and pages as HTML text, from libraries that need not be there."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hago.errors import DataError

Axes = Any  # matplotlib's own types are only there where it is
Filter = Callable[..., object]


def draw(paint: Callable[[Axes], None], size: tuple[float, float], title: str) -> str:
    """What ``paint`` makes of axes of ``size`` inches, as an <svg> element.

    Raises DataError where matplotlib is not installed.
    """
    figures, backends = _matplotlib()
    figure = figures.Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=9, loc="left")
    axes.tick_params(labelsize=7, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    paint(axes)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(8)
    text = io.StringIO()
    # Without a date, and with ids that do not depend on chance, the same findings give the
    # same page.
    backends.FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None, "Title": title})
    svg = text.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)


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


def _matplotlib() -> tuple[ModuleType, ModuleType]:
    try:
        import matplotlib as mpl
        from matplotlib import figure
        from matplotlib.backends import backend_svg
    except ImportError as error:
        raise missing_library(error) from error
    mpl.rcParams["svg.hashsalt"] = "hago"
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text: smaller, and can be searched
    return figure, backend_svg
