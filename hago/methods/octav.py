"""The clip with the least squared error, by Newton's method on the values.

C. Sakr et al., Optimal Clipping and Magnitude-aware Differentiation for Improved Quantization-aware
Training, arXiv 2206.06501 (ICML 2022), section 3 and equation 6. ``mse`` searches the same lowest
point by rounding on a grid of ranges, and moves both ends; here the rounding error is that of
evenly spread values, and both signs are clipped alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hago.calibrate import Stats
from hago.calibrate.clipping import octav_range
from hago.graph import QuantModel
from hago.methods.assign import refill
from hago.methods.method import register


@register
@dataclass(frozen=True)
class Octav:
    """Sets the ranges of activations."""

    name: ClassVar[str] = "octav"
    paper: ClassVar[str] = "Sakr et al., arXiv 2206.06501, equation 6"

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        return refill(model, lambda src, scheme: octav_range(stats[src], scheme))
