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
from typing import ClassVar

import numpy as np

from hago.calibrate import Stats
from hago.dataflow import Node
from hago.graph import QuantModel
from hago.methods.biased_layers import Doubles, Ints, Outcome, change_layers
from hago.methods.biases import with_biases
from hago.methods.method import register
from hago.scheme import Floats


@register
@dataclass(frozen=True)
class BiasCorrection:
    """Changes the biases of layers with quantized weights, by the first ``samples`` samples;
    ``shrink`` leaves out what is chance in them."""

    name: ClassVar[str] = "bias_correction"
    paper: ClassVar[str] = "Nagel et al., arXiv 1906.04721, section 4.2"

    samples: int = 64
    shrink: bool = False

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with other biases in its module. Raises DataError where there are no samples.

        It comes last in a recipe: what is rounded after it is not corrected.
        """
        found: dict[str, Floats] = {}

        def change(node: Node, given: Outcome) -> tuple[Doubles, Doubles]:
            errors = given.exact.astype(np.float64) - given.quantized
            shift = errors.mean(axis=0)
            if self.shrink:
                shift = shift * _certain(errors, given.sample)
            found[node.name] = (node.constants[1] + shift).astype(np.float32)
            return np.ones_like(shift), shift

        change_layers(self, model, stats, change)
        return with_biases(model, found)


def _certain(errors: Doubles, sample: Ints) -> Doubles:
    """Which part [C] of the mean of ``errors`` [rows, C] is no chance, by the samples of the rows;
    0 where there is but one."""
    _, first, counts = np.unique(sample, return_index=True, return_counts=True)
    if len(counts) < 2:
        return np.zeros(errors.shape[1])
    # Samples with more rows say more: what each adds to the mean of all rows, and its variance.
    parts = np.add.reduceat(errors, first) - counts[:, None] * errors.mean(axis=0)
    chance = np.square(parts).sum(axis=0) / len(errors) ** 2 * len(counts) / (len(counts) - 1)
    square = np.square(errors.mean(axis=0))
    return np.maximum(0.0, 1.0 - chance / np.maximum(square, np.finfo(np.float64).tiny))
