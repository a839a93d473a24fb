"""Weights in fewer bits than the machine multiplies."""

import numpy as np
import pytest

from hago.annotate import annotate, choose_strategy
from hago.annotate.narrow import (
    END_RULE,
    MACHINE_FORMAT,
    WeightFormat,
    end_layers,
    narrow_reasons,
    narrow_weights,
)
from hago.dataflow import read_dataflow
from hago.errors import StrategyError
from hago.realize import interpret, realize
from hago.scheme import DType, PerAxis, PerGroup
from tests.graphs import attention, input_for, machine, residual_network
from tests.methods.narrowed import narrowed


def weights_of(module, form):
    graph = annotate(module, machine())
    strategy = narrow_weights(graph, choose_strategy(graph, "int8"), form)
    return {edge.dst: scheme for edge, scheme in strategy.items() if edge.is_constant}


def test_the_first_and_the_last_layer_keep_the_machines_format():
    schemes = weights_of(residual_network(), WeightFormat(4))
    assert {name: scheme.dtype.bits for name, scheme in schemes.items()} == {
        "conv2d": 8, "conv2d_1": 4, "conv2d_2": 4, "matmul": 8
    }  # fmt: skip


def reasons_of(module, form):
    graph = annotate(module, machine())
    strategy = narrow_weights(graph, choose_strategy(graph, "int8"), form)
    return {edge.dst: reason for edge, reason in narrow_reasons(graph, strategy, form).items()}


def test_every_weight_has_a_reason_for_its_bits():
    reasons = reasons_of(residual_network(), WeightFormat(4))
    kept = {name for name, reason in reasons.items() if reason.source == END_RULE}
    assert kept == {"conv2d", "matmul"}
    assert {reasons[name].text[:15] for name in ("conv2d_1", "conv2d_2")} == {"codes of 4 bits"}


def test_no_layer_is_kept_where_the_ends_are_narrowed_too():
    reasons = reasons_of(residual_network(), WeightFormat(4, ends=True))
    assert END_RULE not in {reason.source for reason in reasons.values()}
    assert reasons_of(residual_network(), MACHINE_FORMAT) == {}


def test_parallel_layers_at_an_end_are_all_ends():
    assert end_layers(read_dataflow(attention())) == {"query", "key", "value", "out"}


def test_groups_are_of_matrices_whose_height_they_divide():
    schemes = weights_of(residual_network(), WeightFormat(4, group=3, ends=True))
    assert schemes["matmul"].granularity == PerGroup(0, 3)
    assert schemes["conv2d_2"].granularity == PerAxis(0)
    assert weights_of(attention(), WeightFormat(4, group=3, ends=True))["out"].granularity == (
        PerAxis(1)
    )


def test_activations_stay_as_they_are():
    graph = annotate(residual_network(), machine())
    strategy = choose_strategy(graph, "int8")
    narrow = narrow_weights(graph, strategy, WeightFormat(2, ends=True))
    assert all(narrow[e] == scheme for e, scheme in strategy.items() if not e.is_constant)


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_narrow_codes_run_in_the_integer_products_of_the_machine(bits):
    module = residual_network()
    realized = realize(narrowed(module, bits))
    layers = [
        node for node in read_dataflow(realized).nodes if node.op in ("nn.conv2d", "matmul")
    ]
    assert len(layers) == 4
    for node in layers:
        codes = node.constants[1]
        assert codes.dtype == np.int8
        if node.op == "matmul":
            low, high = DType("int", bits).code_range
            assert low <= codes.min()
            assert codes.max() <= high
        else:  # less the zero point of its channel
            spread = np.ptp(codes.reshape(len(codes), -1).astype(int), axis=1)
            assert spread.max() <= 2**bits - 1
    assert np.isfinite(interpret(realized, input_for(module))[0]).all()


@pytest.mark.parametrize("form", [{"bits": 1}, {"bits": 9}, {"bits": 4, "group": 0}])
def test_a_format_that_does_not_exist_is_refused(form):
    with pytest.raises(StrategyError):
        WeightFormat(**form)
