"""Numbers for every level of a search, from the methods of its recipe."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hago.annotate import annotate
from hago.annotate.biases import biases_of
from hago.calibrate import Stats
from hago.calibrate.observers import TensorObserver
from hago.clock import Clock
from hago.demo import digits_calibration, digits_model
from hago.errors import StrategyError
from hago.hardware.load import load_spec
from hago.methods.facts import Facts
from hago.methods.mse import Mse
from hago.methods.pick import pick_methods
from hago.progress import SILENT
from hago.search.goal import Goal
from hago.search.grouping import build_space
from hago.search.numbers import find_numbers
from hago.search.request import Request
from hago.search.subject import build_subject
from tests.graphs import all_values, input_for, residual_network

NARROW = Facts(convolutions=3, weight_bits=4)


@pytest.fixture(scope="module")
def graph_and_stats():
    graph = annotate(residual_network(), load_spec("x86-bf16"))
    found = {}
    for name, value in all_values(graph.module, input_for(graph.module)).items():
        observer = TensorObserver()
        observer.observe(value)
        found[name] = observer.stats()
    return graph, Stats(found, 1)


class NewBiases:
    """Gives the model another module, as a correction of its biases would."""

    name = "new_biases"
    paper = "none"

    def apply(self, model, stats):
        return replace(model, graph=replace(model.graph, module=residual_network()))


def test_there_is_a_level_for_each_precision(graph_and_stats):
    graph, stats = graph_and_stats
    numbers = find_numbers(build_space(graph), graph, stats, lambda bits: [Mse()])
    assert len(numbers.levels) == len(numbers.space.levels())
    assert all(level.graph is graph for level in numbers.levels)


def test_each_level_has_the_methods_for_its_bits(graph_and_stats):
    graph, stats = graph_and_stats
    asked = []
    find_numbers(build_space(graph, (6, 4)), graph, stats, lambda bits: asked.append(bits) or [])
    assert asked == [8, 6, 4]  # bfloat16 has no numbers to choose


def test_a_method_that_changes_the_module_is_refused(graph_and_stats):
    graph, stats = graph_and_stats
    with pytest.raises(StrategyError, match="new_biases: it cannot be searched with"):
        find_numbers(build_space(graph), graph, stats, lambda bits: [Mse(), NewBiases()])


class MovedBiases(NewBiases):
    """The same of a method whose module computes what it did."""

    name = "moved_biases"
    keeps_function = True


def test_a_module_that_computes_the_same_is_that_of_all_levels(graph_and_stats):
    graph, stats = graph_and_stats
    numbers = find_numbers(build_space(graph), graph, stats, lambda bits: [MovedBiases(), Mse()])
    assert numbers.graph.module is not graph.module
    assert all(level.graph is numbers.graph for level in numbers.levels)


class BiasesByBits:
    """Chooses the number of bits as each bias of the quantized layers."""

    name = "biases_by_bits"
    paper = "none"

    def __init__(self, bits):
        self.bits = bits

    def apply(self, model, stats):
        found = {b.edge: np.full_like(b.value, self.bits) for b in biases_of(model).values()}
        return replace(model, biases=found)


def test_a_layer_has_the_bias_of_its_level(graph_and_stats):
    graph, stats = graph_and_stats
    space = build_space(graph, (4,))
    numbers = find_numbers(space, graph, stats, lambda bits: [BiasesByBits(bits)])

    def biases(**precisions):
        names = [[option.name for option in group.options] for group in space.groups]
        chosen = [precisions.get(group.name, "float32") for group in space.groups]
        found = numbers.model(tuple(map(list.index, names, chosen))).biases
        return {edge.dst: float(bias.mean()) for edge, bias in found.items()}

    assert biases(conv2d="int8", conv2d_1="int4") == {"add": 8, "add_1": 4}
    assert biases(conv2d="int4") == {"add": 4}
    assert biases(conv2d_1="bfloat16") == {}


def test_a_search_for_size_takes_the_best_recipe():
    """Its methods for narrow weights choose biases, too, for each level its own."""
    pytest.importorskip("torch")
    goal = Goal("size", max_drop=0.01)
    request = Request(
        digits_model(), "x86-avx2", digits_calibration(), goal, ("best(rows=64)",),
        samples=4,
    )  # fmt: skip
    subject = build_subject(request, Clock(SILENT), lambda identity: None)
    assert "gptaq" in {method.name for method in pick_methods("best", NARROW).methods}
    assert any("int4" in subject.space.names(level) for level in subject.space.levels())
