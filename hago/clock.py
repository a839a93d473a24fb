"""How long each stage took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hago.progress import SILENT, Progress


@dataclass(frozen=True, eq=False)
class Clock:
    """Shows the stages on ``progress`` and keeps the seconds of each, by name."""

    progress: Progress = SILENT
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        with self.progress.stage(name):
            yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
