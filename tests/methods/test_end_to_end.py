"""end_to_end: scales and biases that make the results of the whole network right."""

import numpy as np
import pytest

from hago.accuracy import sqnr_db
from hago.annotate.biases import biases_of
from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.errors import DataError
from hago.gradient.fake_quantize import model_hooks
from hago.methods.batch_norm_tuning import BatchNormTuning
from hago.methods.end_to_end import EndToEnd
from hago.realize import insert_qdq
from hago.realize.interpret import interpret
from tests.methods.narrowed import narrowed
from tests.methods.test_bias_correction import GIVEN, data, errors, network, results

pytest.importorskip("torch")
QUICK = EndToEnd(steps=300, step_rate=0.01, bias_rate=0.02)


@pytest.fixture(scope="module")
def model():
    return narrowed(network(), 3)


@pytest.fixture(scope="module")
def learned(model):
    return QUICK.apply(model, GIVEN)


def test_it_wins_more_than_layers_tuned_one_by_one_on_other_samples(model, learned):
    others = data(48, 2)
    tuned, exact = errors(BatchNormTuning().apply(model, GIVEN), others)
    found, _ = errors(learned, others)
    assert sqnr_db(exact, exact + found) > sqnr_db(exact, exact + tuned)


def test_the_codes_of_weights_stay_where_scales_move(model, learned):
    weights = constant_edges(model.graph)
    assert learned.weights
    for edge, codes in learned.weights.items():
        np.testing.assert_array_equal(codes, model.quants[edge].encode(weights[edge]))
        assert not np.array_equal(learned.quants[edge].scale, model.quants[edge].scale)


def test_edges_that_share_numbers_still_do(learned):
    for group in learned.graph.tied:
        scales = {float(learned.quants[edge].scale) for edge in group if edge in learned.quants}
        assert len(scales) <= 1


def test_what_helps_only_the_samples_it_learned_from_is_dropped(model):
    # A rate that throws the numbers away from where they were cannot win on any sample.
    assert EndToEnd(steps=3, step_rate=3.0).apply(model, GIVEN) is model


def test_the_same_seed_finds_the_same_numbers(model):
    first, second = (EndToEnd(steps=5, seed=3).apply(model, GIVEN) for _ in range(2))
    for edge, quant in first.quants.items():
        np.testing.assert_array_equal(quant.scale, second.quants[edge].scale)


def test_the_exchange_form_computes_the_same(learned):
    sample = GIVEN.data[0]
    (got,) = interpret(insert_qdq(learned), sample)
    expected = results(learned.graph.module, model_hooks(learned), [sample])[0]
    # Sums in another order: a code of an activation in between may be the next one.
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()


def test_biases_move(model, learned):
    before, after = biases_of(model), biases_of(learned)
    assert before
    for edge, bias in before.items():
        assert not np.array_equal(after[edge].value, bias.value)


def test_it_needs_data(model):
    with pytest.raises(DataError, match="no calibration data"):
        EndToEnd().apply(model, Stats({}, 0))
