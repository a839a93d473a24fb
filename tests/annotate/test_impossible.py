"""Formats that a machine or a model cannot have are refused, with a way out."""

import pytest

from hago.annotate import annotate, choose_strategy
from hago.annotate.impossible import check_weights
from hago.annotate.narrow import WeightFormat, narrow_weights
from hago.annotate.narrow_activations import ActivationFormat, narrow_activations
from hago.errors import StrategyError
from hago.hardware.load import load_spec
from tests.graphs import attention, machine, residual_network


def check(module, form, spec=None):
    graph = annotate(module, spec or machine())
    check_weights(graph, narrow_weights(graph, choose_strategy(graph, "int8"), form), form)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_8_bit_floats_stored_in_fewer_bits_are_possible(bits):
    check(residual_network(), WeightFormat(bits, ends=True), load_spec("gaudi-fp8"))


@pytest.mark.parametrize("bits", [5, 6, 7])
def test_8_bit_floats_have_no_other_bits(bits):
    with pytest.raises(StrategyError, match="Give --weight-bits 2 to 4"):
        check(residual_network(), WeightFormat(bits, ends=True), load_spec("gaudi-fp8"))


@pytest.mark.parametrize("bits", range(2, 9))
def test_integers_have_any_bits(bits):
    check(residual_network(), WeightFormat(bits))
    check(residual_network(), WeightFormat(bits, ends=True))


def test_groups_must_divide_some_column():
    check(attention(), WeightFormat(4, group=2, ends=True))
    with pytest.raises(StrategyError, match=r"columns of its matrices have .* weights"):
        check(attention(), WeightFormat(4, group=1000, ends=True))


def test_groups_without_a_matrix_that_is_narrowed():
    with pytest.raises(StrategyError, match="--narrow-ends"):
        check(residual_network(), WeightFormat(4, group=3))


def test_8_bit_floats_are_no_codes_of_fewer_bits():
    graph = annotate(residual_network(), load_spec("gaudi-fp8"))
    strategy = choose_strategy(graph, "int8")
    assert narrow_activations(graph, strategy, ActivationFormat(8, ends=True)) == strategy
    with pytest.raises(StrategyError, match="float8_e4m3"):
        narrow_activations(graph, strategy, ActivationFormat(6))
