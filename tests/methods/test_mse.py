"""mse: the range with the least squared error."""

import numpy as np

from hago.methods.min_max import MinMax
from hago.methods.mse import Mse
from tests.methods.dense import DATA, covered, quantized, stats_of


def error_of(model, values):
    quant = model.quants[DATA]
    return float(np.square(quant.decode(quant.encode(values)) - values).mean())


def test_the_error_is_not_above_that_of_the_extremes():
    values = np.random.default_rng(0).laplace(size=100_000).astype(np.float32)
    stats = stats_of(values)
    model = quantized(stats)
    ours, extremes = (error_of(m.apply(model, stats), values) for m in (Mse(), MinMax()))
    # Laplace at 8 bits: clipping saves a tenth at least (ACIQ, arXiv 1810.05723, figure 2).
    assert ours < 0.9 * extremes


def test_evenly_spread_values_are_not_clipped():
    stats = stats_of(np.linspace(0, 1, 10_000))
    _, high = covered(Mse().apply(quantized(stats), stats))
    assert high > 1 - 1 / 64  # the step of the search
