"""Draws the stages of long work on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bars

from hago.progress import Progress

T = TypeVar("T")


class _Lines:
    """One line for each stage, with its time, when it is over."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def stage(self, description: str) -> AbstractContextManager[None]:
        return self._timed(description)

    @contextmanager
    def _timed(self, description: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._tell(description, time.perf_counter() - start)

    def _tell(self, description: str, seconds: float) -> None:
        self._console.print(f"  {description:<30} {seconds:7.1f} s", highlight=False)

    def track(self, items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        return iter(items)


class _Drawn(_Lines):
    """Bars while a stage is under way, one line with its time when it is over."""

    def __init__(self, bars: Bars) -> None:
        super().__init__(bars.console)
        self._bars = bars

    @contextmanager
    def _timed(self, description: str) -> Iterator[None]:
        task = self._bars.add_task(description, total=None)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._bars.remove_task(task)
        self._tell(description, time.perf_counter() - start)

    def track(self, items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        task = self._bars.add_task(description, total=total)
        try:
            for item in items:
                yield item
                self._bars.advance(task)
        finally:
            self._bars.remove_task(task)


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
    )
    with Bars(*columns, console=console, transient=True) as bars:
        yield _Drawn(bars)


def draw_on(bars: Bars) -> Progress:
    """A progress on bars that somebody else shows."""
    return _Drawn(bars)
