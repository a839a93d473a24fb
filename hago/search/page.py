"""One HTML page about a search, with everything in it: no scripts, no other files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hago.figure import Filter, fill_page
from hago.search import plots, words
from hago.search.disk import write_whole
from hago.search.findings import Findings
from hago.search.goal import Figures
from hago.search.network_plot import colour_of, network
from hago.search.outcome import pareto_front

_TEMPLATE = Path(__file__).with_name("page.html.jinja")


def write_page(findings: Findings, path: Path) -> None:
    """Writes the report. Raises DataError where it cannot be written, or libraries are missing."""
    write_whole(path, render_page(findings))


def render_page(findings: Findings) -> str:
    """The page as HTML. Raises DataError where the extra ``report`` is not installed."""
    best = findings.best
    drawn = {
        "pareto": plots.pareto(findings),
        "history": plots.history(findings),
        "noise": plots.predictions(findings, "noise"),
        "latency": plots.predictions(findings, "latency_ms"),
        "network": network(findings, best.precisions) if best is not None else "",
    }
    front = pareto_front(findings.records)
    is_met = best is not None and not findings.goal.violation(best.known)
    filters: dict[str, Filter] = {
        "share": words.share, "size": words.size, "latency": words.latency, "mix": words.mix,
        "count": _count, "counted": Counter, "colour": colour_of,
    }  # fmt: skip
    return fill_page(
        _TEMPLATE, filters, f=findings, best=best, is_met=is_met, front=front, plots=drawn,
        gains=_gains(findings),
    )  # fmt: skip


def _gains(findings: Findings) -> dict[str, float]:
    """By how much the best is faster and smaller than float32, where both are known."""
    if findings.best is None or findings.floats is None:
        return {}
    best, floats = findings.best.measured or Figures(), findings.floats.measured or Figures()
    pairs = {
        "faster": (floats.latency_ms, best.latency_ms),
        "smaller": (floats.size_bytes, best.size_bytes),
    }
    return {name: before / after for name, (before, after) in pairs.items() if before and after}


def _count(value: int) -> str:
    """With its digits, or only the first ones of very many."""
    return f"{value:,}" if value < 1e9 else f"{value:.1e}"
