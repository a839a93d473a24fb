"""The range whose histogram is nearest in Kullback-Leibler divergence.

S. Migacz, 8-bit Inference with TensorRT, GTC 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hago.calibrate import Stats
from hago.calibrate.ranges import kl_range
from hago.graph import QuantModel
from hago.methods.assign import refill
from hago.methods.method import register


@register
@dataclass(frozen=True)
class Kl:
    """Sets the ranges of activations."""

    name: ClassVar[str] = "kl"
    paper: ClassVar[str] = "S. Migacz, 8-bit Inference with TensorRT, GTC 2017"

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        return refill(model, lambda src, scheme: kl_range(stats[src], scheme))
