"""How long work tells what it is doing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Receives the stages of a compilation. ``hago.cli.progress`` draws them on stderr."""

    def stage(self, description: str) -> AbstractContextManager[None]:
        """A context within which ``description`` is under way."""

    def track(self, items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        """``items``, counted while they are consumed (``total`` is None where unknown)."""


class _Silent:
    def stage(self, description: str) -> AbstractContextManager[None]:
        return nullcontext()

    def track(self, items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
        return iter(items)


SILENT: Progress = _Silent()
