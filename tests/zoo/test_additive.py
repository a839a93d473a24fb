"""Sums over parts against the whole, on latencies that are computed instead of measured."""

from __future__ import annotations

import numpy as np
import pytest

from hago.clock import Clock
from hago.dataflow import read_dataflow
from hago.kernel_search.turns import Rounds
from hago.progress import SILENT
from hago.search.subject import build_subject
from tests.graphs import attention, residual_network
from tests.search.stand_ins import computed_latency, request_of
from tests.zoo.additive import Sums, alone, layers, measure, strategies, turn


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    request = request_of(tmp_path_factory.mktemp("additive"))
    return build_subject(request, Clock(SILENT), lambda identity: None)


def computed(modules, spec):
    return Rounds(np.array([[computed_latency(module, None) for module in modules]] * 3))


def crossed(modules, spec):
    """Nothing takes time but what crosses the border of a part."""
    return Rounds(np.array([[len(module["main"].params) for module in modules]] * 3, float))


def test_where_operations_cost_the_same_anywhere_both_sums_are_the_whole(subject):
    for each in strategies(subject, 2, seed=0).items():
        sums = measure(subject, *each, computed)
        # what crosses a cut is quantized on both sides, which costs next to nothing here
        assert sums.shares == pytest.approx({"sub-graphs": 1, "layers": 1}, abs=0.05)


def test_where_borders_cost_time_more_parts_are_further_from_the_whole(subject):
    for each in strategies(subject, 2, seed=0).items():
        sums = measure(subject, *each, crossed)
        assert sums.error("layers") > sums.error("sub-graphs") > 0


def test_a_layer_is_an_operation_a_product_with_its_bias_or_a_softmax():
    assert layers(read_dataflow(residual_network())) == [
        ("conv2d", "add"), ("relu",), ("conv2d_1", "add_1"), ("add_2",), ("clip",), ("multiply",),
        ("add_3",), ("concat",), ("conv2d_2",), ("mean",), ("matmul",), ("result",),
    ]  # fmt: skip
    assert layers(read_dataflow(attention())) == [
        ("query",), ("key",), ("value",), ("permute",), ("scores",),
        ("largest", "shifted", "powers", "total", "factor"), ("product", "mixed"), ("out",),
        ("result",),
    ]  # fmt: skip


def test_a_layer_rounds_what_it_reads_and_gives_floats(subject):
    model = subject.numbers.model(subject.space.lowest)
    (product,) = next(x for x in layers(read_dataflow(model.graph.module)) if "conv2d_1" in x)
    module = alone(model, (product,))
    assert {str(param.ty.dtype) for param in module["main"].params} == {"float32"}
    text = module.script()
    assert "R.quantize" in text
    assert 'out_dtype="int32"' in text
    assert str(module["main"].ret_ty.fields[0].dtype) == "float32"


def test_errors_are_shares_of_the_whole_with_the_factor_of_a_search():
    sums = Sums("int8", 4.0, {"layers": 0.75})
    assert sums.error("layers") == pytest.approx(0.25)
    assert sums.error("layers", factor=2.0) == pytest.approx(0.5)


def test_a_turn_is_the_mean_of_calls_after_one_that_does_not_count():
    now, calls = 0.0, []

    def call():
        nonlocal now
        calls.append(now)
        now += (100.0, 1e-4, 7e-4)[len(calls) - 1]

    assert turn(call, lambda: now) == pytest.approx(4e-4)
    assert len(calls) == 3
