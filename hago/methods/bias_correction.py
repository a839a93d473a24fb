"""The mean error of each channel, taken out of the biases.

    b' = b - (E[y~] - E[y]),    y~ = W~ x~ + b,  y = W x + b

M. Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction,
arXiv 1906.04721, section 4.2 and appendix D (the empirical form): an error of the weights that is
even over the codes is not even over the data, ``E[(W~ - W) x] = (W~ - W) E[x]``, and shifts what
follows. Layers are corrected in order, each on what the quantized and corrected ones before it
give, so that the rounding of activations counts as well. Where the mean error is zero nothing
changes; a layer without a bias of its own keeps its error.

With ``shrink``, which is not the paper's, the mean ``m_c`` of a channel over few samples, with the
standard error ``s_c``, counts for what it tells about other samples,

    t^2 / (t^2 + s_c^2),    t^2 = mean over channels of m_c^2 - s_c^2, at least 0

(B. Efron and C. Morris, Stein's Estimation Rule and Its Competitors, JASA 1973: mean errors of a
layer's channels are drawn around 0, and tell the variance t^2 of that themselves). A page has the
same white everywhere, whose rounding error is no chance; photographs have not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from hago.annotate.biases import Bias
from hago.calibrate import Stats
from hago.graph import Edge, QuantModel
from hago.methods.biased_layers import Doubles, Outcome, change_layers
from hago.methods.method import register
from hago.scheme import Floats


@register
@dataclass(frozen=True)
class BiasCorrection:
    """Changes the biases of layers with quantized weights, by the first ``samples`` samples (fewer
    where their values would not fit into memory); ``shrink`` leaves out what is chance in them."""

    name: ClassVar[str] = "bias_correction"
    paper: ClassVar[str] = "Nagel et al., arXiv 1906.04721, section 4.2"
    corrects: ClassVar[bool] = True

    samples: int = 64
    shrink: bool = False

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with other biases. Raises DataError where there are no samples.

        It comes last in a recipe: what is rounded after it is not corrected.
        """
        found: dict[Edge, Floats] = {}

        def change(_: Edge, bias: Bias, given: Outcome) -> tuple[Doubles, Doubles]:
            pairs = zip(given.exact, given.quantized, strict=True)
            sums = np.stack([np.subtract(*pair, dtype=np.float64).sum(axis=0) for pair in pairs])
            counts = np.array([len(rows) for rows in given.exact])
            shift = sums.sum(axis=0) / counts.sum()
            if self.shrink:
                shift = shift * certain_share(sums, counts)
            found[bias.edge] = (bias.value + shift).astype(np.float32)
            return np.ones_like(shift), shift

        change_layers(self, model, stats, change)
        return replace(model, biases={**model.biases, **found})


def certain_share(sums: Doubles, counts: npt.NDArray[np.int64]) -> Doubles:
    """Which part [C] of a mean error is no chance; ``sums`` [samples, C] are of ``counts`` errors
    [samples] each. 0 where there is but one sample."""
    if len(counts) < 2:
        return np.zeros(sums.shape[1])
    mean = sums.sum(axis=0) / counts.sum()
    # Samples with more rows say more: what each adds to the mean of all rows, and its variance.
    parts = (sums - counts[:, None] * mean) / counts.sum()
    chance = np.square(parts).sum(axis=0) * len(counts) / (len(counts) - 1)
    certain = max(float((np.square(mean) - chance).mean()), 0.0)
    return np.asarray(certain / np.maximum(certain + chance, np.finfo(np.float64).tiny))
