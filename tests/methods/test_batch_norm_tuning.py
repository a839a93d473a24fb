"""batch_norm_tuning: mean and deviation of each channel are those of the float model."""

import numpy as np
import pytest

from hago.accuracy import sqnr_db
from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.errors import DataError
from hago.gradient.fake_quantize import model_hooks
from hago.methods.batch_norm_tuning import BatchNormTuning
from hago.methods.bias_correction import BiasCorrection
from hago.realize import insert_qdq
from hago.realize.interpret import interpret
from tests.methods.narrowed import narrowed
from tests.methods.test_bias_correction import GIVEN, data, errors, network, results

pytest.importorskip("torch")


@pytest.fixture
def model():
    return narrowed(network(), 3)


def moments(values):
    rows = values.reshape(-1, values.shape[-1])
    return rows.mean(0), rows.std(0)


def test_each_channel_has_the_mean_and_deviation_of_the_float_model(model):
    tuned = BatchNormTuning(most=8.0).apply(model, GIVEN)
    lost, exact = errors(tuned, GIVEN.data)
    for wanted, given in zip(moments(exact), moments(exact + lost), strict=True):
        np.testing.assert_allclose(given, wanted, atol=1e-4)


def test_it_wins_more_than_biases_alone_on_other_samples(model):
    # Hubara et al., section 3.4: narrow weights change the spread, too.
    others = data(48, 2)
    biased, exact = errors(BiasCorrection().apply(model, GIVEN), others)
    tuned, _ = errors(BatchNormTuning().apply(model, GIVEN), others)
    assert sqnr_db(exact, exact + tuned) > sqnr_db(exact, exact + biased)


def test_no_scale_moves_by_more_than_it_may(model):
    tuned = BatchNormTuning(most=1.1).apply(model, GIVEN)
    for edge, quant in tuned.quants.items():
        factor = quant.scale / model.quants[edge].scale
        assert np.all((factor > 1 / 1.1001) & (factor < 1.1001))


def test_activations_and_codes_stay(model):
    tuned = BatchNormTuning().apply(model, GIVEN)
    weights = constant_edges(model.graph)
    for edge, codes in tuned.weights.items():
        np.testing.assert_array_equal(codes, model.quants[edge].encode(weights[edge]))
    assert all(
        tuned.quants[edge] is quant for edge, quant in model.quants.items() if not edge.is_constant
    )


def test_the_exchange_form_computes_the_same(model):
    tuned = BatchNormTuning().apply(model, GIVEN)
    sample = GIVEN.data[0]
    (got,) = interpret(insert_qdq(tuned), sample)
    expected = results(tuned.graph.module, model_hooks(tuned), [sample])[0]
    # Sums in another order: a code of an activation in between may be the next one.
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()


def test_it_needs_data(model):
    with pytest.raises(DataError, match="no calibration data"):
        BatchNormTuning().apply(model, Stats({}, 0))
