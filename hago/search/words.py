"""The figures of a strategy as people read them; a dash for what is not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

_NONE = "-"


def share(value: float | None) -> str:
    """Two digits of small percentages: 0.015%."""
    if value is None:
        return _NONE
    return f"{value:.2%}" if abs(value) >= 1e-3 or value == 0 else f"{value * 100:.2g}%"


def latency(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f} ms"


def size(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value / 1e6:.2f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB"


def mix(precisions: Sequence[str]) -> str:
    """``13 int8, 2 float32``."""
    return ", ".join(f"{n} {name}" for name, n in Counter(precisions).most_common())
