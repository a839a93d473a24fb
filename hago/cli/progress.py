"""Draws the stages of long work on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from hago.progress import Progress

T = TypeVar("T")
_QUIET = 30.0  # seconds after which plain lines give a sign of life
_PACE = 600.0  # seconds whose pace the time to come is foretold from: steps differ much


class _Lines:
    """One line for each stage, with its time, when it is over; now and then one for long counts."""

    def __init__(
        self, console: Console, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._console = console
        self._clock = clock

    def stage(self, description: str) -> AbstractContextManager[None]:
        return self._timed(description)

    @contextmanager
    def _timed(self, description: str) -> Iterator[None]:
        start = self._clock()
        yield
        self._tell(description, self._clock() - start)

    def _tell(self, description: str, seconds: float) -> None:
        self._console.print(f"  {description:<30} {seconds:7.1f} s", highlight=False)

    def track(self, items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        start = told = self._clock()
        for number, item in enumerate(items):
            now = self._clock()
            if now - told >= _QUIET:
                told = now
                self._console.print(
                    f"  {description}: {_share(number, total, now - start)}", highlight=False
                )
            yield item


class _Drawn(_Lines):
    """Bars while a stage is under way, one line with its time when it is over."""

    def __init__(self, bars: Bars) -> None:
        super().__init__(bars.console)
        self._bars = bars

    @contextmanager
    def _timed(self, description: str) -> Iterator[None]:
        task = self._bars.add_task(description, total=None)
        start = self._clock()
        try:
            yield
        finally:
            self._bars.remove_task(task)
        self._tell(description, self._clock() - start)

    def track(self, items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        task = self._bars.add_task(description, total=total)
        try:
            for item in items:
                yield item
                self._bars.advance(task)
        finally:
            self._bars.remove_task(task)


def _share(done: int, total: int | None, seconds: float) -> str:
    """How far a count is, and how long the rest takes at this pace."""
    if total is None:
        return f"{done}"
    return f"{done} of {total}, about {seconds / done * (total - done):.0f} s more"


@contextmanager
def drawn_progress() -> Iterator[Progress]:
    """A progress on stderr for the time of the context."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        SpinnerColumn("line"),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(
        *columns, console=console, transient=True, speed_estimate_period=_PACE
    ) as bars:
        yield _Drawn(bars)


def draw_on(bars: Bars) -> Progress:
    """A progress on bars that somebody else shows."""
    return _Drawn(bars)
