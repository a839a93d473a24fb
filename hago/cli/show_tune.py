"""A search while it runs, and what it found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from hago.cli.progress import draw_on, drawn_progress
from hago.cli.render import INDENT, count, print_indented, print_table, print_title, table_of
from hago.errors import StrategyError
from hago.progress import Progress
from hago.search import words
from hago.search.goal import Figures, Goal
from hago.search.laboratory import FIRST, LEVEL
from hago.search.metrics import Doubt
from hago.search.outcome import Outcome, pareto_front
from hago.search.records import Record

_SHOWN = 8  # rows of the front while the search runs
_FIGURES = "drop", "latency", "size"

_TOO_SHORT = (
    "no mix of precisions was tried: the budget ended before. The session keeps what it learned; "
    "give more --budget, and it goes on from there"
)

Watch = Callable[[Outcome], None]


@contextmanager
def drawn_search(budget_s: float) -> Iterator[tuple[Progress, Watch]]:
    """Progress and best results on stderr for the time of the context."""
    console = Console(stderr=True)
    if not console.is_terminal:
        with drawn_progress() as progress:
            yield progress, lambda outcome: _print_trial(console, outcome)
        return
    columns = (
        SpinnerColumn("line"),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
    )
    bars, board = Bars(*columns, console=console), _Board(budget_s)
    with Live(Group(bars, board), console=console, transient=True, refresh_per_second=4):
        yield draw_on(bars), board.update


class _Board:
    """The state of the search, redrawn while it runs."""

    def __init__(self, budget_s: float) -> None:
        self._budget_s = budget_s
        self._outcome: Outcome | None = None
        self._since = 0.0

    def update(self, outcome: Outcome) -> None:
        self._outcome, self._since = outcome, time.monotonic()

    def __rich__(self) -> RenderableType:
        outcome = self._outcome
        if outcome is None:
            return Text("")
        left = self._budget_s - outcome.seconds - (time.monotonic() - self._since)
        trials = count(len(outcome.records), "trial")
        line = f"{trials}, {_clock(max(left, 0.0))} left, {count(len(outcome.errors), 'error')}"
        rows = pareto_front(outcome.records)[:_SHOWN]
        return Padding(Group(Text(line), _front(rows, outcome.best)), (0, 0, 0, INDENT))


def _print_trial(console: Console, outcome: Outcome) -> None:
    """One line for a trial, where nothing can be redrawn."""
    record = outcome.records[-1]
    if record.error:
        first = record.error.splitlines()[0]
        console.print(f"  trial {record.trial:<4} {record.proposer:<10} {first}", highlight=False)
    else:
        cells = "  ".join((*_cells_of(record.known), words.mix(record.precisions)))
        mark = "  best" if outcome.best is record else ""
        note = "" if record.measured is not None else "  not built, it promises too little"
        line = f"  trial {record.trial:<4} {record.proposer:<10} {cells}{mark}{note}"
        console.print(line, highlight=False, soft_wrap=True)


def show_outcome(console: Console, outcome: Outcome) -> None:
    """The best, the front, and how far predictions can be trusted."""
    print_title(console, f"{outcome.model} on {outcome.hardware}", f"session {outcome.session}")
    best, floats = outcome.best, outcome.floats
    rows = pareto_front(outcome.records)
    if floats is not None and floats not in rows:
        rows.append(floats)
    print_table(console, _front(rows, best))
    console.print()
    measured = sum(record.measured is not None for record in outcome.records)
    tried = f"{count(len(outcome.records), 'trial')}, {measured} measured"
    print_indented(console, f"{tried}, in {_clock(outcome.seconds)}; stopped by: {outcome.stopped}")
    if outcome.cost_model is not None:
        print_indented(console, _trust(outcome))
    if 0 < (outcome.goal.max_drop or 0) < outcome.step:
        print_indented(console, Text(_coarse(outcome), style="yellow"))
    if outcome.doubt is not None:
        print_indented(console, _doubted(outcome.doubt))
    if 0 < outcome.sensitivities < outcome.groups:
        print_indented(console, _foretold(outcome))
    if outcome.stopped == "budget" and all(r.proposer in (FIRST, LEVEL) for r in outcome.records):
        print_indented(console, Text(_TOO_SHORT, style="yellow"))
    if best is not None:
        mix = words.mix(best.precisions)
        print_indented(console, f"best: trial {best.trial}, {mix}, in {outcome.artifact}")
    for record in outcome.errors:
        line = record.error.replace("\n", " ")
        print_indented(console, Text(f"trial {record.trial} failed: {line}", style="yellow"))
    if outcome.damaged_lines:
        lines = count(outcome.damaged_lines, "damaged line", "is")
        print_indented(console, Text(f"{lines} left out of the records", style="yellow"))


def refuse_unmet(outcome: Outcome) -> None:
    """Raises StrategyError where no strategy keeps the bounds."""
    if outcome.is_met:
        return
    best = outcome.best
    known = best.known if best is not None else Figures()
    broken = ", ".join(name for name, _ in outcome.goal.exceeded(known))
    shown = ", ".join(map(" ".join, zip(_FIGURES, _cells_of(known), strict=True)))
    raise StrategyError(
        "no strategy that was tried keeps the bounds",
        fact=f"the closest ({words.mix(best.precisions)}) exceeds that on {broken}: {shown}"
        if best is not None
        else "nothing could be built",
        source=str(outcome.session / "records.jsonl"),
        way_out=f"Loosen {_bounds(outcome.goal)}, give more --budget, or another --recipe.",
    )


def _trust(outcome: Outcome) -> str:
    error = outcome.cost_model
    assert error is not None
    return (
        f"latencies of sub-graphs: {error.measurements} measured; guesses of others are off by "
        f"{error.relative:.0%} (median, held out), rank correlation {error.rank_correlation:.2f}"
    )


def _coarse(outcome: Outcome) -> str:
    bound, step = words.share(outcome.goal.max_drop), words.share(outcome.step)
    return (
        f"a drop of {bound} cannot be told from none: one result more or less is {step}. Judge by "
        "more samples (--samples, --eval), or by a --metric that does not count, as sqnr"
    )


def _doubted(doubt: Doubt) -> str:
    low, high = words.share(doubt.low), words.share(doubt.high)
    return (
        f"{doubt.changed} of {count(doubt.results, 'result')} changed: of new ones {low} to {high} "
        "will (95%)"
    )


def _foretold(outcome: Outcome) -> str:
    return (
        f"sensitivities: {outcome.sensitivities} of {outcome.groups} groups were measured in half "
        "of the time, those of most gain; a longer --budget measures more"
    )


def _front(records: list[Record], best: Record | None) -> Table:
    table = table_of("", "trial", "by", *_FIGURES, "groups in", right=("trial", *_FIGURES))
    for record in records:
        figures = record.measured or record.known
        mark = "*" if best is not None and record.trial == best.trial else ""
        cells = (*_cells_of(figures), words.mix(record.precisions))
        table.add_row(mark, str(record.trial), record.proposer, *cells)
    return table


def _cells_of(figures: Figures) -> tuple[str, str, str]:
    """The values of _FIGURES."""
    drop, latency_ms = words.share(figures.drop), words.latency(figures.latency_ms)
    return drop, latency_ms, words.size(figures.size_bytes)


def _bounds(goal: Goal) -> str:
    given = {
        "--max-drop": goal.max_drop,
        "--max-latency": goal.max_latency_ms,
        "--max-size": goal.max_size_bytes,
    }
    return " or ".join(name for name, value in given.items() if value is not None)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"
