"""The range with the least squared error of the tensor.

Banner et al., arXiv 1810.05723 (ACIQ), searched instead of fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hago.calibrate import Stats
from hago.calibrate.ranges import mse_range
from hago.graph import QuantModel
from hago.methods.assign import refill
from hago.methods.method import register


@register
@dataclass(frozen=True)
class Mse:
    """Sets the ranges of activations."""

    name: ClassVar[str] = "mse"
    paper: ClassVar[str] = "Banner et al., arXiv 1810.05723 (ACIQ), searched instead of fitted"

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        return refill(model, lambda src, scheme: mse_range(stats[src], scheme))
