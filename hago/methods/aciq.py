"""The range that suits the distribution of the values, in closed form.

R. Banner et al., Post training 4-bit quantization of convolutional networks for rapid-deployment,
arXiv 1810.05723, section 3: a Laplace or a normal distribution has one best clip for each number of
bits: 2.83, 3.89 and 5.03 mean magnitudes, or 1.71, 2.15 and 2.55 standard deviations, at 2, 3 and
4 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hago.calibrate import Stats
from hago.calibrate.clipping import aciq_range
from hago.graph import QuantModel
from hago.methods.assign import refill
from hago.methods.method import register


@register
@dataclass(frozen=True)
class Aciq:
    """Sets the ranges of activations by the mean magnitude or the deviation alone."""

    name: ClassVar[str] = "aciq"
    paper: ClassVar[str] = "Banner et al., arXiv 1810.05723, section 3"

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        return refill(model, lambda src, scheme: aciq_range(stats[src], scheme))
