"""A fixed noise is added to what products read before it is rounded, and taken from the result.

    Y = q(X + N) W + (b - N W),    N_j ~ U(-n, n) for each channel j, drawn once

Y. Liu et al., NoisyQuant, arXiv 2211.16056, equations 5 and 6: where the values crowd at a few
places between two codes (after GELU, say) their rounding errors have one sign and add up; the noise
makes them even. With ``width`` 0 nothing changes; where errors are even already (many steps over
the spread of each channel) nothing is won.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from tvm.ir import IRModule

from hago.annotate.narrow import WeightFormat
from hago.calibrate.channels import Channels, ChannelStats
from hago.graph import QuantGraph
from hago.methods.method import BeforeNumbers, register
from hago.methods.os_plus import candidates
from hago.prepare import prepare
from hago.prepare.scale_channels import ChannelScale, scale_channels


@register
@dataclass(frozen=True)
class NoisyQuant(BeforeNumbers):
    """Shifts channels of what matrix products with constant weights alone read as codes.

    ``width`` is n in steps of codes of ``bits`` bits over the range that was seen; ``seed`` draws.
    """

    name: ClassVar[str] = "noisy_quant"
    paper: ClassVar[str] = "Liu et al., arXiv 2211.16056, equations 5 and 6"

    bits: int = 8
    width: float = 0.5
    seed: int = 0

    def tensors(self, graph: QuantGraph) -> tuple[str, ...]:
        """The tensors that get noise: a convolution would read none in its padding."""
        return tuple(
            source
            for source, readers in candidates(graph).items()
            if all(reader.op == "matmul" for reader in readers)
        )

    def reshape(self, graph: QuantGraph, channels: Channels, weights: WeightFormat) -> IRModule:
        """The prepared module with the noise in it; the same where there is nothing to add to."""
        random = np.random.default_rng(self.seed)
        noise = {
            source: self._noise(channels[source], random)
            for source in (self.tensors(graph) if self.width else ())
        }
        return prepare(scale_channels(graph.module, noise)) if noise else graph.module

    def _noise(self, stats: ChannelStats, random: np.random.Generator) -> ChannelScale:
        reach = max(float(stats.high.max()), 0.0) - min(float(stats.low.min()), 0.0)
        largest = self.width * reach / (2**self.bits - 1)
        noise = random.uniform(-largest, largest, len(stats.mean)).astype(np.float32)
        return ChannelScale(np.ones_like(noise), -noise)
