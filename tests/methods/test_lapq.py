"""lapq: ranges chosen for the loss of the whole model."""

from dataclasses import replace

import numpy as np
import pytest

from hago.accuracy import sqnr_db
from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.calibrate.observers import TensorObserver
from hago.errors import DataError
from hago.gradient import over_samples, read_program
from hago.gradient.fake_quantize import model_hooks
from hago.methods.assign import assign_numbers
from hago.methods.lapq import Lapq, lowest_power
from hago.methods.min_max import MinMax
from hago.methods.mse import Mse
from hago.scheme import DType
from tests.graphs import all_values, machine
from tests.methods.dense import DATA, covered, quantized, stats_of
from tests.methods.narrowed import bottleneck, samples

pytest.importorskip("torch")

SPIKE = [{"x": np.float32([[0.5, 1.0, 1.5, 2.0]])}] * 30 + [{"x": np.float32([[0, 0, 0, 90]])}]


def test_a_parabola_has_its_lowest_point_between_the_powers():
    powers = np.linspace(2, 4, 10)
    assert lowest_power(powers, (powers - 3.1) ** 2 + 5) == pytest.approx(3.1)


@pytest.mark.parametrize(("losses", "best"), [([3, 2, 1], 4.0), ([1, 2, 3], 2.0), ([2, 3, 2.5], 2)])
def test_without_a_lowest_point_inside_the_best_power_is_taken(losses, best):
    assert lowest_power([2.0, 3.0, 4.0], losses) == best


def test_results_are_nearer_than_with_all_that_was_seen():
    stats = stats_of(*(each["x"] for each in SPIKE), data=SPIKE[:30])
    model = quantized(stats)
    _, high = covered(Lapq().apply(model, stats))
    assert high < covered(model)[1]


def test_weights_keep_their_numbers():
    stats = stats_of(*(each["x"] for each in SPIKE), data=SPIKE)
    model = quantized(stats)
    found = Lapq().apply(model, stats)
    assert [e for e in found.quants if found.quants[e] is not model.quants[e]] == [DATA]


def test_it_needs_data():
    stats = stats_of([1.0])
    with pytest.raises(DataError, match="no calibration data"):
        Lapq().apply(quantized(stats), Stats(stats.tensors, 1))


def test_at_four_bits_it_beats_min_max_and_ranges_of_each_tensor_alone():
    # Nahshan et al., table 2: min-max < layer-wise ranges < LAPQ; tests/zoo/orders.py measures it
    # on networks.
    model, stats = at_four_bits()
    plain, alone, jointly = (
        fidelity(method.apply(model, stats)) for method in (MinMax(), Mse(), Lapq(powers=4))
    )
    assert plain < alone < jointly


def at_four_bits():
    """A network of four layers with activations of 4 bits, and heavy tails in its data."""
    module = bottleneck()
    data = [{"x": np.sinh(1.5 * each["x"])} for each in samples(module)]
    observers = {}
    for sample in data:
        for name, value in all_values(module, sample).items():
            observers.setdefault(name, TensorObserver()).observe(value)
    stats = Stats({name: each.stats() for name, each in observers.items()}, len(data), data)
    graph = annotate(module, machine())
    strategy = {
        edge: scheme if edge.is_constant else replace(scheme, dtype=DType(scheme.dtype.kind, 4))
        for edge, scheme in choose_strategy(graph, "int8").items()
    }

    def range_of(src, _):
        return stats[src].low, stats[src].high

    return assign_numbers(graph, strategy, range_of, constant_edges(graph)), stats


def fidelity(model):
    """SQNR in dB of the results on other data of the same kind."""
    module = model.graph.module
    program = read_program(module)
    drawn = [{"x": np.sinh(1.5 * each["x"])} for each in samples(module, count=64, seed=2)]
    steps, (name,) = list(program.steps.values()), program.outputs
    exact, found = (
        over_samples(steps, program.feed(drawn), hooks, [name])[name].numpy()
        for hooks in ({}, model_hooks(model))
    )
    return sqnr_db(exact, found)
