"""intact_pivots: what is the same in every sample is rounded without an error."""

import numpy as np
import pytest

from hago.annotate import annotate
from hago.calibrate.positions import PositionObserver, PositionStats
from hago.dataflow import read_dataflow
from hago.methods.attention import find_attention
from hago.methods.intact_pivots import IntactPivots, offsets
from hago.methods.method import positions_of
from tests.graphs import all_values, machine, residual_network
from tests.methods.attentive import network, texts
from tests.methods.few_bits import quantized


def seen(mean, variance):
    return PositionStats(np.array(mean, np.float64), np.array(variance, np.float64))


def test_positions_that_keep_still_come_to_lie_on_codes():
    means = [[0.3, 1.26, -7.5], [100.0, 100.0, 100.0]]
    found = offsets(seen(means, [[0.0] * 3, [9.0] * 3]), step=1.0, still=0.5)
    assert np.all(np.abs(found) <= 0.5)
    moved = np.array(means[0]) - found
    np.testing.assert_allclose(moved, np.rint(moved), atol=1 / 128)


def test_channels_without_such_a_position_stay():
    assert not offsets(seen([[0.3, 0.4]], [[1.0, 1.0]]), step=1.0, still=0.5).any()


def test_positions_are_told_by_mean_and_variance_and_padding_is_none():
    random, observer = np.random.default_rng(0), PositionObserver()
    values = 1e4 + random.normal(size=(50, 1, 3, 4))
    for number, each in enumerate(values):
        observer.observe(each, np.array([True, number != 7, True]))
    stats = observer.stats()
    np.testing.assert_allclose(stats.mean, values.mean(axis=0)[0, [0, 2]])
    np.testing.assert_allclose(stats.variance, values.var(axis=0)[0, [0, 2]])


def test_the_network_computes_the_same():
    pytest.importorskip("torch")
    module, calibration = network(), texts(8, 1, first=0.3)
    changed = quantized(module, calibration, "min_max,intact_pivots", 8).graph.module
    (sample,) = texts(1, 2, first=0.3)
    before, after = (list(all_values(each, sample).values())[-1] for each in (module, changed))
    assert changed is not module
    np.testing.assert_allclose(after, before, atol=1e-5)


def value_of(model, first):
    """The first token's value, of a text that was not calibrated with, and its numbers."""
    (attention,) = find_attention(read_dataflow(model.graph.module))
    quant = next(q for edge, q in model.quants.items() if edge.src == attention.value)
    return all_values(model.graph.module, texts(1, 2, first)[0])[attention.value][0, 0], quant


def worst_error_of_the_first_value(recipe, first=0.3):
    """In steps."""
    value, quant = value_of(quantized(network(), texts(16, 1, first), recipe, 8), first)
    return float(np.abs(quant.decode(quant.encode(value)) - value).max() / quant.scale)


def test_a_token_that_is_always_the_same_is_rounded_without_an_error():
    pytest.importorskip("torch")
    assert worst_error_of_the_first_value("min_max") > 0.4
    assert worst_error_of_the_first_value("min_max,intact_pivots") < 1 / 64


def test_no_range_leaves_it_out():
    pytest.importorskip("torch")
    clipped = "percentile(keep=99),intact_pivots"
    assert worst_error_of_the_first_value(f"{clipped}(wider=1)", first=1.5) > 4
    assert worst_error_of_the_first_value(clipped, first=1.5) < 1 / 64


@pytest.mark.parametrize("first", [1.5, 2.0, 2.5, 3.0])
def test_no_range_grows_by_more_than_a_quarter(first):
    pytest.importorskip("torch")
    recipes = ("percentile(keep=99)", "percentile(keep=99),intact_pivots")
    models = [quantized(network(), texts(16, 1, first), recipe, 8) for recipe in recipes]
    (_, before), (_, after) = (value_of(model, first) for model in models)
    assert before.scale <= after.scale <= 1.25 * before.scale


def test_where_no_token_is_the_same_nothing_changes():
    pytest.importorskip("torch")
    module = network()
    assert quantized(module, texts(64, 1), "min_max,intact_pivots", 8).graph.module is module


def test_a_convolutional_network_has_nothing_to_move():
    assert not positions_of((IntactPivots(),), annotate(residual_network(), machine()))
