"""Activations in fewer bits than the machine multiplies."""

import numpy as np
import pytest

from hago.annotate import annotate, choose_strategy
from hago.annotate.narrow import END_RULE
from hago.annotate.narrow_activations import (
    ActivationFormat,
    activation_reasons,
    narrow_activations,
)
from hago.errors import StrategyError
from tests.graphs import attention, machine, residual_network


def strategies(module, form):
    """As the machine has it, and narrowed."""
    graph = annotate(module, machine())
    strategy = choose_strategy(graph, "int8")
    return graph, strategy, narrow_activations(graph, strategy, form)


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_activations_have_the_bits_that_were_asked_for(bits):
    _, before, after = strategies(residual_network(), ActivationFormat(bits, ends=True))
    narrow = {edge: s.dtype for edge, s in after.items() if not edge.is_constant}
    assert narrow
    assert {dtype.bits for dtype in narrow.values()} == {bits}
    assert all(dtype.kind == before[edge].dtype.kind for edge, dtype in narrow.items())


def test_weights_stay_as_they_are():
    _, before, after = strategies(residual_network(), ActivationFormat(4, ends=True))
    assert all(after[edge] == scheme for edge, scheme in before.items() if edge.is_constant)


def test_what_the_first_and_the_last_layers_read_keeps_the_machines_bits():
    _, _, after = strategies(residual_network(), ActivationFormat(4))
    bits = {edge.dst: s.dtype.bits for edge, s in after.items() if not edge.is_constant}
    assert (bits["conv2d"], bits["matmul"]) == (8, 8)
    assert (bits["conv2d_1"], bits["conv2d_2"]) == (4, 4)


@pytest.mark.parametrize("module", [residual_network(), attention()])
def test_edges_with_the_same_codes_have_the_same_bits(module):
    graph, _, after = strategies(module, ActivationFormat(4))
    for tie in graph.tied:
        assert len({after[edge] for edge in tie if edge in after}) <= 1


def test_every_activation_has_a_reason_for_its_bits():
    graph, _, after = strategies(residual_network(), ActivationFormat(4))
    reasons = activation_reasons(graph, after, ActivationFormat(4))
    assert reasons.keys() == {edge for edge in after if not edge.is_constant}
    for edge, reason in reasons.items():
        assert (reason.source == END_RULE) == (after[edge].dtype.bits == 8)


def test_no_edge_gets_a_reason_where_nothing_is_narrowed():
    graph, _, after = strategies(residual_network(), ActivationFormat(8, ends=True))
    assert after == strategies(residual_network(), ActivationFormat())[1]
    assert activation_reasons(graph, after, ActivationFormat(8, ends=True)) == {}


@pytest.mark.parametrize("bits", [1, 9, np.iinfo(np.int32).max])
def test_bits_that_do_not_exist_are_refused(bits):
    with pytest.raises(StrategyError, match="--activation-bits 2 to 8"):
        ActivationFormat(bits)
