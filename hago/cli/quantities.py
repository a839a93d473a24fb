"""Numbers with units as people write them: 10m, 3ms, 12MB, 0.5%."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from hago.cli.options import UsageError

SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
BYTES = {"B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20}
SHARES = {"%": 0.01, "": 1.0}

_PART = re.compile(r"(?P<number>[0-9]+(\.[0-9]*)?|\.[0-9]+)\s*(?P<unit>[A-Za-z%]*)\s*")


def parse_quantity(text: str, units: Mapping[str, float], option: str) -> float:
    """``"1h30m"`` in the unit of which ``units`` tells the multiples. Raises UsageError."""
    total, place = 0.0, 0
    stripped = text.strip()
    while place < len(stripped):
        match = _PART.match(stripped, place)
        if match is None or match["unit"] not in units:
            break
        total += float(match["number"]) * units[match["unit"]]
        place = match.end()
    if not stripped or place < len(stripped) or not math.isfinite(total):
        known = ", ".join(f"'{unit}'" for unit in units if unit)
        raise UsageError(
            f"{option} {text}: not understood",
            fact=f"a number and a unit were expected: {known}",
            way_out=f"Write for example {option} 10{next(iter(units))}.",
        )
    return total


def parse_optional(text: str | None, units: Mapping[str, float], option: str) -> float | None:
    """The same, or None for an option that was not given."""
    return None if text is None else parse_quantity(text, units, option)
