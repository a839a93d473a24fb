"""The mean over samples of their extremes: HAGO's own default.

HAGO, arXiv 2103.14949.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hago.calibrate import Stats
from hago.calibrate.ranges import mean_range
from hago.graph import QuantModel
from hago.methods.assign import refill
from hago.methods.method import register


@register
@dataclass(frozen=True)
class Mean:
    """Sets the ranges of activations."""

    name: ClassVar[str] = "mean"
    paper: ClassVar[str] = "HAGO, arXiv 2103.14949"

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        return refill(model, lambda src, scheme: mean_range(stats[src], scheme))
