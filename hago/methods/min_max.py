"""The extremes that were seen: nothing is clipped.

Jacob et al., arXiv 1712.05877, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hago.calibrate import Stats
from hago.calibrate.ranges import minmax_range
from hago.graph import QuantModel
from hago.methods.assign import refill
from hago.methods.method import register


@register
@dataclass(frozen=True)
class MinMax:
    """Sets the ranges of activations."""

    name: ClassVar[str] = "min_max"
    paper: ClassVar[str] = "Jacob et al., arXiv 1712.05877, section 3.1"

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        return refill(model, lambda src, scheme: minmax_range(stats[src], scheme))
