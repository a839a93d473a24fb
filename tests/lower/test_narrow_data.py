"""Which products of a lowered module multiply 4 bits by 4 bits."""

import pytest
from tvm import relax

from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.annotate.narrow import WeightFormat, narrow_weights
from hago.annotate.narrow_activations import ActivationFormat, narrow_activations
from hago.codegen.workload import Product
from hago.hardware.load import load_spec
from hago.lower.lower import lower_with_weights
from hago.lower.narrow_data import code_range
from hago.lower.view import view_of
from hago.methods.assign import assign_numbers
from hago.realize import realize
from tests.graphs import all_values, attention, input_for, residual_network

DENSE = {"residual": (residual_network, 3), "attention": (attention, 4)}


def strategy_of(module, hardware, weight_bits, activation_bits):
    graph = annotate(module, load_spec(hardware))
    weights = WeightFormat(weight_bits, ends=True)
    strategy = narrow_weights(graph, choose_strategy(graph, "int8"), weights)
    return graph, narrow_activations(graph, strategy, ActivationFormat(activation_bits, ends=True))


def narrowed(module, hardware, weight_bits=4, activation_bits=4):
    """``module`` realized with codes of few bits."""
    graph, strategy = strategy_of(module, hardware, weight_bits, activation_bits)
    values = all_values(module, input_for(module))
    return realize(assign_numbers(
        graph, strategy, lambda src, _: (float(values[src].min()), float(values[src].max())),
        constant_edges(graph),
    ))  # fmt: skip


def in_nibbles(module, hardware):
    calls = lower_with_weights(module, load_spec(hardware), ()).calls
    products = [call.workload for call in calls if isinstance(call.workload, Product)]
    return [work for work in products if work.data == work.weight == "int4"]


@pytest.mark.parametrize("hardware", ["cuda-sm75", "cuda-sm80", "cuda-sm89"])
@pytest.mark.parametrize("name", DENSE)
def test_dense_products_are_where_the_machine_multiplies_nibbles(name, hardware):
    build, count = DENSE[name]
    assert len(in_nibbles(narrowed(build(), hardware), hardware)) == count


@pytest.mark.parametrize(
    ("hardware", "bits"), [("cuda-sm90", (4, 4)), ("cuda-sm80", (4, 5)), ("cuda-sm80", (5, 4))]
)
def test_none_is_where_a_machine_has_no_such_product_or_codes_have_more_bits(hardware, bits):
    assert not in_nibbles(narrowed(residual_network(), hardware, *bits), hardware)


@pytest.mark.parametrize(
    ("hardware", "bits", "symmetric"),
    [("cuda-sm80", 4, True), ("cuda-sm80", 8, False), ("x86-vnni", 4, False)],
)
def test_weights_have_no_zero_points_where_they_meet_four_bits_there(hardware, bits, symmetric):
    _, strategy = strategy_of(residual_network(), hardware, 4, bits)
    dense = [s for e, s in strategy.items() if e.dst in ("conv2d", "conv2d_2") and e.is_constant]
    assert [scheme.symmetric for scheme in dense] == [symmetric] * 2


def test_codes_are_followed_through_moves_to_the_bounds_of_their_rounding():
    view = view_of(narrowed(residual_network(), "cuda-sm80"))
    joined = next(node for node in view.dataflow.nodes if node.op == "concat")
    assert code_range(view, joined.name) == (-8, 7)


def test_codes_of_unknown_origin_may_be_any():
    codes = relax.Var("x", relax.TensorType((1, 4), "int8"))
    builder = relax.BlockBuilder()
    with builder.function("main", [codes]):
        with builder.dataflow():
            result = builder.emit_output(relax.op.reshape(codes, (4, 1)))
        builder.emit_func_output(result)
    view = view_of(builder.get())
    assert code_range(view, view.dataflow.nodes[0].name) == (-128, 127)
