"""The mean of what rounding the weights does to a layer's output, taken over by its bias.

    b' = b + (W - W~) E[x]

the analytic bias correction of M. Nagel et al., arXiv 1906.04721, section 4.2, with the mean that
calibration saw. A method that chooses codes by the covariance of ``x`` counts on it: what is the
same in every row costs nothing then.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hago.annotate.biases import biases_behind
from hago.annotate.constants import constant_edges
from hago.calibrate.moments import Moments, RowMoments
from hago.graph import Edge, QuantModel
from hago.scheme import Array, Floats


def errors_count(model: QuantModel, moments: Moments) -> dict[Edge, Floats]:
    """The H [groups, K, K] by which errors of the weights on each edge count, of layers with known
    moments: the covariance where a bias takes over the mean."""
    behind = biases_behind(model.graph)
    return {
        edge: known.covariance if edge in behind else known.second
        for edge in constant_edges(model.graph)
        if (known := moments.get(edge.dst)) is not None
    }


def with_means_taken_over(model: QuantModel, moments: Moments) -> QuantModel:
    """``model`` with biases for its codes, of layers with quantized weights and known moments."""
    weights, found = constant_edges(model.graph), dict(model.biases)
    for edge, bias in biases_behind(model.graph).items():
        quant, known = model.quants.get(edge), moments.get(edge.dst)
        if quant is not None and quant.scheme.is_quantized and known is not None:
            error = weights[edge] - quant.decode(model.codes(edge, weights[edge]))
            found[bias.edge] = (bias.value + _means(error, known)).astype(np.float32)
    return replace(model, biases=found)


def _means(weight: Array, moments: RowMoments) -> Array:
    """``weight`` ([K, N] of a matmul or OHWI) times what it reads in the mean, float64 [N]."""
    groups, length = moments.mean.shape
    rows = (weight.T if weight.ndim == 2 else weight).reshape(groups, -1, length)
    return np.einsum("gnk,gk->gn", rows, moments.mean, dtype=np.float64).reshape(-1)
