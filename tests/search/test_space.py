"""Groups and sub-graphs of real graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tvm import relax

from hago.annotate import annotate
from hago.dataflow import read_dataflow
from hago.errors import DataError, StrategyError
from hago.graph import QuantGraph
from hago.hardware.load import load_spec
from hago.realize import interpret, realize
from hago.search.extract import digest, extract
from hago.search.features import chosen_options, features, works_of
from hago.search.flow import find_flow
from hago.search.grouping import build_space
from hago.search.segments import MOST_CONFIGURATIONS, cut
from hago.search.space import Assignment, Space
from tests.graphs import Builder, attention, input_for, residual_network
from tests.search.stand_ins import numbers_of

MODELS = {"residual": residual_network, "attention": attention}


def graph_of(name: str, machine: str = "x86-bf16") -> QuantGraph:
    return annotate(MODELS[name](), load_spec(machine))


def some_assignments(space: Space, count: int) -> list[Assignment]:
    random = np.random.default_rng(0)
    counts = [len(group.options) for group in space.groups]
    drawn = [tuple(int(o) for o in random.integers(counts)) for _ in range(count)]
    return [*space.levels(), *drawn]


@pytest.mark.parametrize("name", MODELS)
def test_every_edge_with_a_choice_is_in_exactly_one_group(name):
    graph = graph_of(name)
    edges = [edge for group in build_space(graph).groups for edge in group.edges]
    assert len(edges) == len(set(edges))
    assert set(edges) == {edge for edge, schemes in graph.choices.items() if schemes}


def test_the_operands_of_a_product_and_tied_edges_move_together():
    graph = graph_of("residual")
    group_of = {
        edge: number for number, group in enumerate(build_space(graph).groups)
        for edge in group.edges
    }  # fmt: skip
    for tie in graph.tied:
        assert len({group_of[edge] for edge in tie}) == 1
    for product in ("conv2d", "conv2d_1", "conv2d_2", "matmul"):
        assert len({g for edge, g in group_of.items() if edge.dst == product}) == 1


@pytest.mark.parametrize(
    ("name", "flow"),
    [
        # convolution -> (depthwise, sum, concatenation: tied) -> mean -> dense
        ("residual", ((0, 1), (1, 2), (2, 3))),
        # query, key and value -> scores -> their product with the values -> out
        ("attention", ((0, 1), (0, 2), (1, 2), (2, 3))),
    ],
)
def test_the_flow_leads_from_groups_to_those_that_read_what_they_made(name, flow):
    graph = graph_of(name)
    assert find_flow(graph, build_space(graph)) == flow


@pytest.mark.parametrize("name", MODELS)
def test_options_go_down_from_float_and_name_what_the_machine_multiplies(name):
    for group in build_space(graph_of(name)).groups:
        bits = [option.bits for option in group.options]
        assert bits == sorted(bits, reverse=True)
        assert group.options[0].name == "float32"
        assert {option.name for option in group.options[1:]} <= {"bfloat16", "int8", "uint8"}


def test_pairs_are_offered_where_others_would_saturate_a_faster_instruction():
    groups = {group.name: group for group in build_space(graph_of("residual", "x86-avx2")).groups}
    assert [option.name for option in groups["conv2d"].options] == ["float32", "int8", "int8_pairs"]
    # depthwise convolutions have no saturating row
    assert [option.name for option in groups["conv2d_1"].options] == ["float32", "int8"]


def test_weights_may_have_fewer_bits_than_the_machine_multiplies():
    graph = graph_of("residual", "x86-avx2")
    groups = {group.name: group for group in build_space(graph, (6, 4)).groups}
    names = [option.name for option in groups["conv2d"].options]
    assert names == ["float32", "int8", "int8_pairs", "int6", "int4"]
    lowest = groups["conv2d"].options[-1]
    for edge, scheme in lowest.schemes.items():
        assert scheme.dtype.bits == (4 if edge.is_constant else 8)
    assert groups["conv2d"].weight_bytes(4) == groups["conv2d"].weight_bytes(0) // 8


def test_products_of_activations_have_no_weights_to_narrow():
    graph = graph_of("attention", "x86-vnni")
    assert {group.weights > 0 for group in build_space(graph, (6, 4)).groups} == {True, False}
    for group in build_space(graph, (6, 4)).groups:
        assert ("int4" in {option.name for option in group.options}) == (group.weights > 0)


def test_each_operand_of_a_product_of_activations_takes_its_own_type():
    graph = graph_of("attention", "x86-vnni")
    group = next(g for g in build_space(graph).groups if g.name == "scores")
    low = {str(edge): str(scheme.dtype) for edge, scheme in group.options[-1].schemes.items()}
    assert low["query -> scores[0]"] == "uint8"
    assert low["permute -> scores[1]"] == low["key -> permute[0]"] == "int8"


def test_a_graph_without_choices_has_nothing_to_search():
    graph = graph_of("residual")
    bare = replace(graph, choices=dict.fromkeys(graph.choices, ()))
    with pytest.raises(StrategyError, match="nothing to search"):
        build_space(bare)


def test_names_and_assignments_are_each_others_inverse():
    space = build_space(graph_of("residual"))
    for assignment in some_assignments(space, 5):
        assert space.parse(space.names(assignment)) == assignment
    with pytest.raises(DataError, match="no option 'int9', did you mean 'int8'"):
        space.parse(["int9", *space.names(space.lowest)[1:]])
    with pytest.raises(DataError, match="1 precisions for"):
        space.parse(["int8"])


@pytest.mark.parametrize("name", MODELS)
def test_segments_hold_every_operation_once_in_an_order_that_can_run(name):
    graph = graph_of(name)
    segments = cut(graph, build_space(graph))
    operations = [name for segment in segments for name in segment.operations]
    nodes = read_dataflow(graph.module).by_name()
    assert sorted(operations) == sorted(nodes)
    for number, operation in enumerate(operations):
        sources = [source for source in nodes[operation].inputs if source in nodes]
        assert all(operations.index(source) < number for source in sources)


def test_what_a_residual_spans_is_one_segment():
    graph = graph_of("residual")
    (segment,) = (s for s in cut(graph, build_space(graph)) if "add_3" in s.operations)
    assert {"conv2d_1", "multiply", "add_3"} <= set(segment.operations)
    assert "conv2d" not in segment.operations


def test_a_chain_is_cut_after_every_product():
    b = Builder(1, 8, 8, 16)
    value = b.input
    for number in range(5):
        value = b.conv(f"conv2d_{number}", value, 16, padding=1)
    graph = annotate(b.done(value), load_spec("x86-bf16"))
    segments = cut(graph, build_space(graph))
    assert [segment.operations[0] for segment in segments] == [f"conv2d_{n}" for n in range(5)]


def test_a_wide_segment_is_halved_until_its_configurations_can_be_listed():
    b = Builder(1, 8, 8, 16)
    branches = [b.conv(f"conv2d_{n}", b.input, 16, kernel=1 + 2 * (n % 2), padding=n % 2)
                for n in range(8)]  # fmt: skip
    deeper = [b.conv(f"deep_{n}", branch, 16, padding=1) for n, branch in enumerate(branches)]
    total = deeper[0]
    for number, other in enumerate(deeper[1:]):
        total = b.emit(f"sum_{number}", relax.op.add(total, other))
    graph = annotate(b.done(total), load_spec("x86-bf16"))
    space = build_space(graph)
    segments = cut(graph, space)
    for segment in segments:
        count = np.prod([len(space.groups[group].options) for group in segment.groups])
        assert count <= MOST_CONFIGURATIONS or len(segment.operations) == 1
    assert len(segments) > 1


@pytest.mark.parametrize("machine", ["x86-avx2", "x86-bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_segments_one_after_the_other_compute_what_the_whole_computes(name, machine):
    """In codes where they pass codes: every output is the same, bit for bit."""
    graph = graph_of(name, machine)
    numbers, inputs = numbers_of(graph), input_for(graph.module)
    segments = cut(graph, numbers.space)
    users = read_dataflow(graph.module).users()
    for assignment in some_assignments(numbers.space, 6):
        model = numbers.model(assignment)
        values = dict(inputs)
        for segment in segments:
            module = extract(model, segment.operations)
            names = [str(param.name) for param in module["main"].params]
            given = {name: values[name.removesuffix("_codes_in")] for name in names}
            given = {n: _narrow(v, module, n, model) for n, v in given.items()}
            inside = set(segment.operations)
            exits = [
                node.name for node in read_dataflow(graph.module).nodes
                if node.name in inside and any(d not in inside for d, _ in users[node.name])
            ]  # fmt: skip
            values.update(zip(exits, interpret(module, given), strict=True))
        (expected,) = interpret(realize(model), inputs)
        assert np.array_equal(values["result"], expected), assignment


def _narrow(value, module, name, model):
    """The model's own input, in the codes in which the first segment takes it."""
    param = next(p for p in module["main"].params if str(p.name) == name)
    if str(value.dtype) == str(param.ty.dtype):
        return value
    source = name.removesuffix("_codes_in")
    edge = next(edge for edge in model.strategy if edge.src == source)
    return model.quants[edge].encode(value)


def test_equal_blocks_have_one_digest_and_other_precisions_another():
    b = Builder(1, 8, 8, 16)
    value = b.input
    for number in range(3):
        value = b.conv(f"conv2d_{number}", value, 16, padding=1)
    graph = annotate(b.done(value), load_spec("x86-bf16"))
    numbers = numbers_of(graph)
    low, floats = numbers.model(numbers.space.lowest), numbers.model(numbers.space.floats)
    assert digest(low, ["conv2d_0"]) == digest(low, ["conv2d_1"])
    assert digest(low, ["conv2d_0"]) != digest(floats, ["conv2d_0"])
    assert digest(low, ["conv2d_1"]) != digest(low, ["conv2d_2"])  # it gives floats


def test_fewer_bits_are_fewer_cycles_and_bytes_at_the_peak():
    graph = graph_of("residual")
    space = build_space(graph)
    spec = load_spec("x86-bf16")
    segment = next(s for s in cut(graph, space) if "conv2d" in s.operations)
    works = works_of(graph, segment)
    floats = features(works, chosen_options(space, segment.groups, [0] * len(segment.groups)), spec)
    low = [len(space.groups[group].options) - 1 for group in segment.groups]
    lowest = features(works, chosen_options(space, segment.groups, low), spec)
    assert lowest[0] < floats[0]
