"""What every method has, and how methods are found."""

import dataclasses
from dataclasses import replace

import pytest

from hago.annotate import annotate
from hago.annotate.narrow import WeightFormat
from hago.calibrate import load_data
from hago.errors import StrategyError
from hago.hardware.load import load_spec
from hago.methods.method import Reshaping, find_methods, known_methods, needs_of
from hago.methods.min_max import MinMax
from hago.methods.obc import Obc
from hago.methods.os_plus import OsPlus
from hago.model import input_specs
from hago.plan import reshape, watch
from hago.scheme import INT7, INT8_PAIRS
from tests.graphs import S8_CHANNEL, U8, row
from tests.methods.attentive import network, texts


@pytest.mark.parametrize("name", sorted(known_methods()))
def test_a_method_is_frozen_data_with_a_name_and_a_paper(name):
    (method,) = find_methods([name])
    assert method.name == name
    assert method.paper
    assert dataclasses.is_dataclass(method)
    assert type(method).__dataclass_params__.frozen


@pytest.mark.parametrize("name", sorted(known_methods()))
def test_a_method_asks_only_for_what_calibration_can_give(name):
    assert needs_of(find_methods([name])) <= {"moments"}


def test_what_several_methods_need_is_asked_for_once():
    assert needs_of([MinMax(), Obc(), Obc(damping=0.1)]) == {"moments"}


def test_only_methods_that_change_the_module_are_reshaping():
    assert isinstance(OsPlus(), Reshaping)
    assert not isinstance(Obc(), Reshaping)


def test_methods_come_in_the_order_of_the_recipe():
    assert [method.name for method in find_methods(["obc", "mse"])] == ["obc", "mse"]


def test_an_unknown_method_is_refused_with_a_suggestion():
    with pytest.raises(StrategyError, match="did you mean 'percentile'"):
        find_methods(["mse", "percentil"])


class Asked:
    """Remembers the format of weights that it is told."""

    name, paper = "asked", "none"

    def widen(self, graph, moments, weights):
        self.weights = weights
        return graph.module


@pytest.mark.parametrize(
    ("weight", "given", "told"), [(INT7, 8, 7), (INT7, 4, 4), (INT8_PAIRS, 8, 8)]
)
def test_a_method_that_changes_the_module_knows_the_bits_that_weights_will_have(
    weight, given, told
):
    spec = load_spec("x86-avx2")
    narrow = row("matmul", U8, replace(S8_CHANNEL, dtype=weight))
    spec = replace(spec, ops=(narrow, *(each for each in spec.ops if each.op != "matmul")))
    module, asked = network(), Asked()
    watched = watch(annotate(module, spec), spec)
    data = load_data(texts(1, 0), input_specs(module))
    assert reshape(watched, spec, data, [asked], WeightFormat(given)) is watched
    assert asked.weights.bits == told
