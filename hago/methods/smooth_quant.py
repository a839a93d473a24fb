"""Part of the range of activations moves into the weights, channel by channel.

    s_j = max |X_j|^alpha / max |W_j|^(1 - alpha),    Y = (X diag(s)^-1) (diag(s) W)

G. Xiao et al., SmoothQuant, arXiv 2211.10438, equation 4. With ``alpha`` 0 the weights' channels
get equal ranges, with 1 the activations'; 0.5 shares the difficulty. A channel that is always zero,
or whose weights are, keeps its scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from tvm.ir import IRModule

from hago.annotate.narrow import WeightFormat
from hago.calibrate.channels import Channels
from hago.dataflow import Node
from hago.graph import QuantGraph
from hago.methods.method import BeforeNumbers, register
from hago.methods.os_plus import candidates
from hago.prepare import prepare
from hago.prepare.scale_channels import ChannelScale, scale_channels

Doubles = npt.NDArray[np.float64]


@register
@dataclass(frozen=True)
class SmoothQuant(BeforeNumbers):
    """Scales what matrix products with constant weights alone read as codes."""

    name: ClassVar[str] = "smooth_quant"
    paper: ClassVar[str] = "Xiao et al., arXiv 2211.10438, equation 4"

    alpha: float = 0.5

    def tensors(self, graph: QuantGraph) -> tuple[str, ...]:
        """The tensors whose channels are scaled."""
        return tuple(_read_by_products(graph))

    def reshape(self, graph: QuantGraph, channels: Channels, weights: WeightFormat) -> IRModule:
        """The prepared module with scaled channels."""
        scales = {
            source: ChannelScale.of(self.scale(channels[source].reach, _weight_reach(readers)))
            for source, readers in _read_by_products(graph).items()
        }
        return prepare(scale_channels(graph.module, scales)) if scales else graph.module

    def scale(self, data: Doubles, weights: Doubles) -> Doubles:
        """Equation 4 for the largest magnitudes of channels, [C]."""
        known = (data > 0) & (weights > 0)
        wanted = np.power(np.where(known, data, 1.0), self.alpha)
        return np.asarray(wanted / np.power(np.where(known, weights, 1.0), 1 - self.alpha))


def _read_by_products(graph: QuantGraph) -> dict[str, list[Node]]:
    return {
        source: readers
        for source, readers in candidates(graph).items()
        if all(reader.op == "matmul" for reader in readers)
    }


def _weight_reach(readers: list[Node]) -> Doubles:
    """The largest magnitude of each input channel's weights over all readers, [C]."""
    reaches = [np.abs(reader.constants[1]).max(axis=1) for reader in readers]
    return np.asarray(np.max(reaches, axis=0), np.float64)
