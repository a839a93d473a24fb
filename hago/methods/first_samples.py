"""The samples that a method looks at, which it cannot do without."""

from __future__ import annotations

from itertools import islice

from hago.calibrate import Stats
from hago.errors import DataError
from hago.sample import Sample

_LEAVE_OUT = "Give data with --data, or leave the method out."


def first_samples(
    name: str, stats: Stats, count: int, fact: str, way_out: str = _LEAVE_OUT
) -> list[Sample]:
    """The first ``count`` samples of the data for the method ``name``.

    Raises DataError where there are none; ``fact`` says what the method needs them for.
    """
    given = list(islice(stats.data, count))
    if given:
        return given
    raise DataError(f"{name}: no calibration data", fact=fact, way_out=way_out)
