"""All but the outermost values.

McKinstry et al., arXiv 1809.04191, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hago.calibrate import Stats
from hago.calibrate.ranges import PERCENTILE, percentile_range
from hago.graph import QuantModel
from hago.methods.assign import refill
from hago.methods.method import register


@register
@dataclass(frozen=True)
class Percentile:
    """Sets the ranges of activations: ``keep`` percent of the values lie within."""

    name: ClassVar[str] = "percentile"
    paper: ClassVar[str] = "McKinstry et al., arXiv 1809.04191, section 3"
    keep: float = PERCENTILE

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 100:
            raise ValueError(f"keep={self.keep} is no percentage above 0")

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        return refill(model, lambda src, scheme: percentile_range(stats[src], scheme, self.keep))
