"""A diagnosis as one HTML page with everything in it: no scripts, no other files."""

from __future__ import annotations

from pathlib import Path

from hago.diagnose import plots
from hago.diagnose.diagnosis import Diagnosis
from hago.errors import DataError
from hago.figure import check_libraries, fill_page
from hago.search.disk import write_whole

_TEMPLATE = Path(__file__).with_name("page.html.jinja")
_DETAILED = 12  # edges with a histogram


def check_page(path: Path) -> None:
    """Raises DataError where a page could not be made or written: before the long work."""
    check_libraries()
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise DataError(
            f"{path}: no file can be written there",
            fact="it is a folder" if path.is_dir() else "its folder does not exist",
            way_out="Give --html FILE.html in a folder that exists.",
        )


def write_page(found: Diagnosis, path: Path) -> None:
    """Writes the page. Raises DataError where it cannot be written, or libraries are missing."""
    write_whole(path, render_page(found))


def render_page(found: Diagnosis) -> str:
    """The page as HTML. Raises DataError where the extra ``report`` is not installed."""
    worst = found.worst(_DETAILED)
    drawn = {"noise": plots.noise(found), "coarse": plots.coarse(found)}
    histograms = [plots.histogram(edge) for edge in worst]
    return fill_page(
        _TEMPLATE,
        {"share": _share, "db": _decibels},
        d=found,
        worst=list(zip(worst, histograms, strict=True)),
        plots=drawn,
        rest=max(0.0, 1 - sum(mend.share for mend in found.mends)),
    )


def _share(value: float) -> str:
    if not value:
        return "-"
    return f"{value:.1%}" if value >= 1e-3 else f"{value * 100:.1g}%"


def _decibels(value: float) -> str:
    return "exact" if value >= 200 else f"{value:.1f}"
