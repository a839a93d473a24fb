"""The mean error of each channel, taken out of the biases.

    b' = b - (E[y~] - E[y]),    y~ = W~ x~ + b,  y = W x + b

M. Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction,
arXiv 1906.04721, section 4.2 and appendix D (the empirical form): an error of the weights that is
even over the codes is not even over the data, ``E[(W~ - W) x] = (W~ - W) E[x]``, and shifts what
follows. Layers are corrected in order, each on what the quantized and corrected ones before it
give, so that the rounding of activations counts as well. Where the mean error is zero nothing
changes; a layer without a bias of its own keeps its error.

With ``shrink``, which is not the paper's, a mean ``m`` over samples with the standard error ``s``
counts for ``max(0, 1 - s^2 / m^2)`` of itself (the positive part of W. James and C. Stein's,
Estimation with Quadratic Loss, 1961): a page has the same white everywhere, whose rounding error is
no chance; photographs have not, and few of them say little about others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hago.calibrate import Stats
from hago.dataflow import Node
from hago.gradient import torch
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
    """Changes the biases of layers with quantized weights, by the first ``samples`` samples;
    ``shrink`` leaves out what is chance in them."""

    name: ClassVar[str] = "bias_correction"
    paper: ClassVar[str] = "Nagel et al., arXiv 1906.04721, section 4.2"
    extra: ClassVar[str] = "torch"

    samples: int = 64
    shrink: bool = False

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with other biases in its module. Raises DataError where there are no samples.

        It comes last in a recipe: what is rounded after it is not corrected.
        """
        found: dict[str, Floats] = {}

        def change(
            node: Node, exact: Tensor, quantized: Tensor, sample: Tensor
        ) -> tuple[float, Tensor]:
            errors = exact - quantized
            shift = errors.mean(0)
            if self.shrink:
                shift = shift * _certain(errors, sample)
            found[node.name] = (node.constants[1] + shift.numpy()).astype(np.float32)
            return 1.0, shift

        change_layers(self, model, stats, change)
        return with_biases(model, found)


def _certain(errors: Tensor, sample: Tensor) -> Tensor:
    """Which part [C] of the mean of ``errors`` [rows, C] is no chance, by the samples of the rows;
    0 where there is but one."""
    numbers, counts = sample.unique(return_inverse=True)[1], sample.unique(return_counts=True)[1]
    if len(counts) < 2:
        return torch.zeros_like(errors[0])
    sums = torch.zeros(len(counts), errors.shape[1]).index_add_(0, numbers, errors)
    # Samples with more rows say more: what each adds to the mean of all rows, and its variance.
    parts = sums - counts[:, None] * errors.mean(0)
    chance = parts.square().sum(0) / len(errors) ** 2 * len(counts) / (len(counts) - 1)
    square = errors.mean(0).square()
    return (1 - chance / square.clamp_min(torch.finfo(square.dtype).tiny)).clamp_min(0)
