"""Mean and deviation of each channel as the float model has them: statistics re-estimated.

    y' = (y~ - E[y~]) S / S~ + E[y],    S = dev(y), S~ = dev(y~)

I. Hubara et al., Improving Post Training Neural Quantization: Layer-wise Calibration and Integer
Programming, arXiv 2006.10518, section 3.4: the batch normalisation of each layer, which was folded,
is put back with the statistics of the float model, those of the quantized one are estimated anew,
and both are folded again. Narrow weights change the spread of what a layer gives as well as its
mean; the factor goes into the scales of the weights, the rest into the bias. Layers follow their
order, each on what the tuned ones before it give. With ranges it is the light pipeline of the
paper, which needs no gradients. A channel that does not vary is only shifted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from hago.annotate.biases import Bias
from hago.calibrate import Stats
from hago.dataflow import Node, read_dataflow
from hago.graph import Edge, QuantModel
from hago.methods.biased_layers import Doubles, Outcome, change_layers
from hago.methods.method import register
from hago.scheme import Array, Floats, PerAxis, PerTensor, TensorQuant


@register
@dataclass(frozen=True)
class BatchNormTuning:
    """Changes biases and scales of layers with quantized weights, by the first ``samples`` samples.

    No channel is stretched or shrunk by more than ``most``: where rounding left nothing of a
    channel, there is nothing to stretch.
    """

    name: ClassVar[str] = "batch_norm_tuning"
    paper: ClassVar[str] = "Hubara et al., arXiv 2006.10518, section 3.4"

    samples: int = 64
    most: float = 2.0

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with other biases and scales. Raises DataError where there are no samples.

        It comes last in a recipe: what is rounded after it is not tuned.
        """
        nodes = read_dataflow(model.graph.module).by_name()
        quants: dict[Edge, TensorQuant] = {}
        codes: dict[Edge, Array] = {}
        found: dict[Edge, Floats] = {}

        def change(edge: Edge, bias: Bias, given: Outcome) -> tuple[Doubles, Doubles]:
            layer = nodes[edge.dst]
            mean, deviation = _moments(given.exact)
            own_mean, own_deviation = _moments(given.quantized)
            factor = self._factor(deviation, own_deviation)
            stretched = _stretched(model.quants[edge], layer, factor.astype(np.float32))
            if stretched is None:
                factor = np.ones_like(factor)
            else:
                quants[edge] = stretched
                # They stay, whatever becomes of the scales.
                codes[edge] = model.codes(edge, layer.constants[1])
            shift = mean - own_mean * factor
            found[bias.edge] = (bias.value * factor + shift).astype(np.float32)
            return factor, shift

        change_layers(self, model, stats, change)
        return replace(
            model.with_quants(quants),
            weights={**model.weights, **codes},
            biases={**model.biases, **found},
        )

    def _factor(self, wanted: Doubles, given: Doubles) -> Doubles:
        """S / S~ of each channel, [C]."""
        ratio = np.divide(wanted, given, out=np.ones_like(wanted), where=given > 0)
        return np.clip(ratio, 1 / self.most, self.most)


def _moments(samples: Sequence[Floats]) -> tuple[Doubles, Doubles]:
    """Mean and deviation of each channel of all rows, [C]."""
    count = sum(map(len, samples))
    mean = sum(rows.sum(axis=0, dtype=np.float64) for rows in samples) / count
    squares = sum(np.square(rows - mean).sum(axis=0) for rows in samples)
    return mean, np.sqrt(squares / count)


def _stretched(quant: TensorQuant, layer: Node, factor: Floats) -> TensorQuant | None:
    """``quant`` with its channels stretched; None where channels share their scales."""
    granularity = quant.scheme.granularity
    if isinstance(granularity, PerTensor):
        return None
    if isinstance(granularity, PerAxis):
        output = 0 if layer.op == "nn.conv2d" else 1
        if granularity.axis % layer.constants[1].ndim != output:
            return None
    # Scales of groups of inputs [groups, C] have the channels last.
    return TensorQuant(quant.scheme, quant.scale * factor, quant.zero_point)
