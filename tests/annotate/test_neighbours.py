"""Channels in an order in which large weights have small neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import ir, relax

from hago.annotate import annotate
from hago.annotate.constants import constant_edges
from hago.annotate.neighbours import conflicts, paired_off, with_small_neighbours
from hago.dataflow import read_dataflow
from hago.graph import QuantGraph
from hago.hardware.load import load_spec
from hago.pairs import reach
from hago.plan import watch
from tests.graphs import Builder, residual_network
from tests.onnx_models import assert_close, normal, run

PAIRED, PLAIN = load_spec("x86-avx2"), load_spec("x86-vnni")


def matrix(*columns: list[float]) -> np.ndarray:
    """Columns of weights as [outputs, positions, channels]."""
    return np.float32(columns)[:, None, :]


def network(kernel: int = 1, hidden: int = 16) -> ir.IRModule:
    """A product of ``hidden`` channels, a depthwise one, and one whose weights are paired."""
    b = Builder(1, 6, 6, 4)
    first = b.emit("relu", relax.op.nn.relu(b.conv("first", b.input, hidden, kernel=1)))
    depthwise = b.conv("depthwise", first, hidden, padding=1, groups=hidden)
    return b.done(b.conv("last", depthwise, 4, kernel=kernel))


def excess(graph: QuantGraph, name: str) -> np.ndarray:
    """By what factor the weights of each output of ``name`` reach further with neighbours."""
    weight = next(w for edge, w in constant_edges(graph).items() if edge.dst == name)
    axes = tuple(range(1, weight.ndim))
    return np.abs(reach(weight)).max(axis=axes) / np.abs(weight).max(axis=axes)


def test_two_of_one_sign_cost_the_more_the_larger_they_are_together() -> None:
    costs = conflicts(matrix([1.0, 0.25, -1.0, 0.5]))
    assert costs[0, 1] == costs[1, 0] == pytest.approx(np.exp(8 * 0.25), rel=1e-5)
    assert costs[0, 3] == pytest.approx(np.exp(8 * 0.5), rel=1e-5)
    assert not costs[2].any()  # of another sign than all others
    assert not costs.diagonal().any()


def test_outputs_count_by_the_squares_of_what_they_need() -> None:
    costs = conflicts(matrix([3.0, 0.75, 0.0], [0.0, 0.25, 1.0]))
    assert costs[0, 1] == pytest.approx(0.9 * np.exp(8 * 0.25), rel=1e-5)
    assert costs[1, 2] == pytest.approx(0.1 * np.exp(8 * 0.25), rel=1e-5)


def test_weights_of_nothing_cost_nothing() -> None:
    assert not conflicts(np.zeros((2, 1, 4), np.float32)).any()


def test_pairs_that_cost_are_parted() -> None:
    costs = np.zeros((6, 6), np.float32)
    costs[[0, 1, 2, 3], [1, 0, 3, 2]] = 1
    order = paired_off(costs)
    assert sorted(order) == list(range(6))
    assert not costs[order[::2], order[1::2]].any()


def test_an_order_without_cost_stays() -> None:
    assert (paired_off(np.zeros((8, 8), np.float32)) == np.arange(8)).all()


def test_no_exchange_of_two_members_is_better() -> None:
    costs = np.square(np.random.default_rng(0).normal(size=(12, 12))).astype(np.float32)
    costs = costs + costs.T
    order = paired_off(costs)
    least = costs[order[::2], order[1::2]].sum()
    for one in range(12):
        for other in range(one):
            changed = order.copy()
            changed[[one, other]] = order[[other, one]]
            assert costs[changed[::2], changed[1::2]].sum() >= least - 1e-2 * costs.mean()


@pytest.mark.parametrize("kernel", [1, 3])
def test_weights_reach_less_far_with_their_neighbours(kernel: int) -> None:
    graph = annotate(network(kernel), PAIRED)
    before, after = (excess(each, "last") for each in (graph, with_small_neighbours(graph, PAIRED)))
    assert before.mean() > 1.1
    assert after.mean() - 1 < 0.5 * (before.mean() - 1)


@pytest.mark.parametrize("make", [network, residual_network])
def test_the_network_computes_the_same(make: object) -> None:
    module = make()
    after = with_small_neighbours(annotate(module, PAIRED), PAIRED).module
    values = normal(*map(int, module["main"].params[0].ty.shape))
    (got,), (expected,) = run(after, values), run(module, values)
    assert_close(got, expected, 200)


def test_a_second_time_changes_nothing() -> None:
    once = with_small_neighbours(annotate(network(), PAIRED), PAIRED)
    twice = with_small_neighbours(annotate(once.module, PAIRED), PAIRED)
    assert twice.module is once.module


def test_channels_stay_where_no_weights_are_paired() -> None:
    graph = annotate(network(), PLAIN)
    assert with_small_neighbours(graph, PLAIN) is graph


def test_an_odd_number_of_channels_stays() -> None:
    graph = annotate(network(hidden=15), PAIRED)
    assert with_small_neighbours(graph, PAIRED) is graph


def test_the_reason_of_the_weights_tells_it() -> None:
    found = with_small_neighbours(annotate(network(), PAIRED), PAIRED)
    told = {edge.dst for edge, why in found.reasons.items() if "small neighbours" in why.text}
    assert told == {"last"}


def test_what_is_watched_has_them_in_order() -> None:
    watched = watch(annotate(network(), PAIRED), PAIRED)
    ordered = with_small_neighbours(annotate(network(), PAIRED), PAIRED)
    for got, expected in zip(
        read_dataflow(watched.graph.module).nodes, read_dataflow(ordered.module).nodes, strict=True
    ):
        np.testing.assert_equal(got.constants, expected.constants)
