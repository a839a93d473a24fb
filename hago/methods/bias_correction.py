"""The mean error of each channel, taken out of the biases.

    b' = b - (E[y~] - E[y]),    y~ = W~ x~ + b,  y = W x + b

M. Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction,
arXiv 1906.04721, section 4.2 and appendix D (the empirical form): an error of the weights that is
even over the codes is not even over the data, ``E[(W~ - W) x] = (W~ - W) E[x]``, and shifts what
follows. Layers are corrected in order, each on what the quantized and corrected ones before it
give, so that the rounding of activations counts as well. Where the mean error is zero nothing
changes; a layer without a bias of its own keeps its error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hago.calibrate import Stats
from hago.dataflow import Node
from hago.graph import QuantModel
from hago.methods.biased_layers import change_layers
from hago.methods.biases import with_biases
from hago.methods.method import register
from hago.scheme import Floats

if TYPE_CHECKING:
    from torch import Tensor


@register
@dataclass(frozen=True)
class BiasCorrection:
    """Changes the biases of layers with quantized weights, by the first ``samples`` samples."""

    name: ClassVar[str] = "bias_correction"
    paper: ClassVar[str] = "Nagel et al., arXiv 1906.04721, section 4.2"
    extra: ClassVar[str] = "torch"

    samples: int = 64

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with other biases in its module. Raises DataError where there are no samples.

        It comes last in a recipe: what is rounded after it is not corrected.
        """
        found: dict[str, Floats] = {}

        def change(node: Node, exact: Tensor, quantized: Tensor) -> tuple[float, Tensor]:
            shift = (exact - quantized).mean(0)
            found[node.name] = (node.constants[1] + shift.numpy()).astype(np.float32)
            return 1.0, shift

        change_layers(self, model, stats, change)
        return with_biases(model, found)
