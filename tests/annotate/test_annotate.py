"""annotate: what edges may be, why, and what is tied."""

from dataclasses import replace

import numpy as np
import pytest
from tvm import relax

from hago.annotate import annotate, choose_strategy
from hago.errors import StrategyError
from hago.graph import Edge, parse_edge
from hago.hardware.load import load_spec
from hago.hardware.spec import Accumulator, Operand
from hago.prepare import prepare
from hago.scheme import INT7, INT8, INT16, UINT8, PerAxis, QuantScheme
from tests.graphs import S8_CHANNEL, U8, Builder, attention, machine, residual_network, row

U8_ASYMMETRIC = QuantScheme(UINT8, symmetric=False)


def choice(graph, text):
    return graph.choices[parse_edge(text)]


def test_a_convolution_takes_unsigned_data_and_signed_weights_per_channel():
    graph = annotate(residual_network(), machine())
    assert choice(graph, "x -> conv2d[0]") == (U8_ASYMMETRIC,)
    assert choice(graph, "conv2d.weight -> conv2d[1]") == (QuantScheme(INT8, PerAxis(0)),)


def test_a_dense_weight_has_its_channels_on_axis_one():
    graph = annotate(residual_network(), machine())
    assert choice(graph, "matmul.weight -> matmul[1]") == (QuantScheme(INT8, PerAxis(1)),)


@pytest.mark.parametrize(
    "edge", ["conv2d -> add[0]", "add -> relu[0]", "add_1 -> multiply[0]", "clip -> multiply[1]"]
)
def test_what_follows_an_accumulator_stays_in_registers(edge):
    graph = annotate(residual_network(), machine())
    assert choice(graph, edge) == ()
    assert "registers" in graph.reasons[parse_edge(edge)].text


def test_a_residual_that_lies_in_memory_as_codes_is_read_as_codes():
    graph = annotate(residual_network(), machine())
    assert choice(graph, "relu -> add_3[0]") == (U8_ASYMMETRIC,)
    assert choice(graph, "multiply -> add_3[1]") == ()


def test_an_operator_without_a_row_stays_float_and_names_the_machine():
    graph = annotate(attention(), machine())
    reason = graph.reasons[parse_edge("scores -> largest[0]")]
    assert "toy has no row for 'max'" in reason.text


def test_a_form_of_an_operator_that_no_row_can_be_for_is_told_from_a_row_that_is_missing():
    x = relax.Var("x", relax.TensorType((4, 4), "float32"))
    weight = relax.const(np.eye(4, dtype=np.float32))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(relax.op.matmul(weight, x))
        builder.emit_func_output(result)
    graph = annotate(prepare(builder.get()), machine())
    (reason,) = (why for edge, why in graph.reasons.items() if edge.src == "x")
    assert reason.text.startswith("rows are for 'matmul' with weights of two axes on the right")


def test_what_a_softmax_sums_are_the_codes_that_its_product_reads():
    for hardware in ("x86-vnni", "arm-dotprod", "gaudi-fp8"):
        graph = annotate(attention(), load_spec(hardware))
        read, summed = (parse_edge(f"powers -> {name}[0]") for name in ("product", "total"))
        assert graph.choices[read] == graph.choices[summed] != ()
        assert frozenset({read, summed}) in graph.tied
        assert "as product reads it" in graph.reasons[summed].text


@pytest.mark.parametrize("hardware", ["x86-vnni", "arm-dotprod"])
def test_between_the_scores_and_their_powers_nothing_is_rounded(hardware):
    graph = annotate(attention(), load_spec(hardware))
    for edge in ("scores -> largest[0]", "scores -> shifted[0]", "largest -> shifted[1]",
                 "shifted -> powers[0]", "product -> mixed[0]", "factor -> mixed[1]"):  # fmt: skip
        assert graph.choices[parse_edge(edge)] == (), edge


def test_a_choice_cites_the_line_of_its_row():
    graph = annotate(residual_network(), machine())
    assert graph.reasons[parse_edge("relu -> conv2d_1[0]")].source == "machine.py:2"


def test_concat_ties_what_it_reads_to_what_reads_it():
    graph = annotate(residual_network(), machine())
    group = next(g for g in graph.tied if parse_edge("concat -> conv2d_2[0]") in g)
    assert {parse_edge("relu -> concat[0]"), parse_edge("add_3 -> concat[1]")} <= group


def test_a_key_moves_through_the_transpose_in_the_scheme_of_the_product():
    graph = annotate(attention(), machine())
    assert choice(graph, "key -> permute[0]") == (QuantScheme(INT8),)
    assert choice(graph, "query -> scores[0]") == (U8_ASYMMETRIC,)


def test_a_residual_after_a_float_operator_stays_float():
    b = Builder(1, 4, 8)
    normal = b.emit("softmax", relax.op.nn.softmax(b.input))
    dense = b.dense("matmul", normal, 8)
    graph = annotate(b.done(b.emit("add", relax.op.add(dense, normal))), machine())
    assert choice(graph, "softmax -> matmul[0]") == (U8_ASYMMETRIC,)
    assert choice(graph, "softmax -> add[1]") == ()


def test_pairs_in_a_saturating_int16_force_narrower_weights():
    narrow = Operand(INT7, ("channel",))
    saturating = Accumulator(INT16, saturates=True, terms=2)
    wide_row = replace(row("conv2d", U8, S8_CHANNEL, line=10), accum=saturating)
    narrow_row = replace(row("conv2d", U8, narrow, line=11), accum=saturating)
    spec = machine(ops=(wide_row, narrow_row))
    graph = annotate(residual_network(), spec)
    assert choice(graph, "conv2d.weight -> conv2d[1]") == (QuantScheme(INT7, PerAxis(0)),)
    assert graph.reasons[parse_edge("x -> conv2d[0]")].source == "machine.py:11"


def test_without_any_safe_row_the_overflow_is_the_reason():
    saturating = Accumulator(INT16, saturates=True, terms=2)
    spec = machine(ops=(replace(row("conv2d", U8, S8_CHANNEL, line=10), accum=saturating),))
    reason = annotate(residual_network(), spec).reasons[Edge("x", "conv2d", 0)]
    # 2 * 255 * 128
    assert "2 products reach 65280, above 32767" in reason.text
    assert reason.source == "machine.py:10"


def test_fixed_point_machines_requantize_before_an_addition():
    spec = machine()
    fixed = replace(spec, ops=tuple(replace(r, requantize="fixed_point") for r in spec.ops))
    graph = annotate(residual_network(), fixed)
    assert choice(graph, "multiply -> add_3[1]") == (U8_ASYMMETRIC,)
    assert choice(graph, "add -> relu[0]") == ()


def test_fixed_point_machines_do_not_round_what_is_read_in_float32_alone():
    spec = machine()
    fixed = replace(spec, ops=tuple(replace(r, requantize="fixed_point") for r in spec.ops))
    graph = annotate(residual_network(), fixed)
    assert choice(graph, "matmul -> result[0]") == ()
    assert "float32 alone" in graph.reasons[parse_edge("matmul -> result[0]")].text


def test_a_long_chain_of_sums_is_annotated_in_no_time():
    # Each sum reads the one before it twice: there are 2^60 ways through the graph.
    spec = machine()
    fixed = replace(spec, ops=tuple(replace(r, requantize="fixed_point") for r in spec.ops))
    b = Builder(1, 6, 6, 6)
    value = b.conv("conv2d", b.input, 6, kernel=1)
    for number in range(60):
        twice = relax.op.add(value, b.emit(f"relu_{number}", relax.op.nn.relu(value)))
        value = b.emit(f"sum_{number}", twice)
    assert annotate(b.done(value), fixed).choices


def test_a_precision_that_nothing_can_have_is_an_error():
    graph = annotate(residual_network(), machine())
    with pytest.raises(StrategyError, match="bfloat16"):
        choose_strategy(graph, "bfloat16")


def test_annotating_twice_gives_the_same_choices():
    first, second = (annotate(residual_network(), machine()) for _ in range(2))
    assert list(first.choices.items()) == list(second.choices.items())
    assert set(first.tied) == set(second.tied)


def test_readers_of_a_move_that_want_different_signs_are_not_tied():
    b = Builder(1, 6, 4)
    part = b.emit("slice", relax.op.strided_slice(b.input, [1], [0], [4]))
    rows = b.dense("dense", part, 4)
    turned = b.emit("turned", relax.op.permute_dims(part, (0, 2, 1)))
    graph = annotate(b.done(b.emit("product", relax.op.matmul(rows, turned))), machine())
    schemes = {edge: graph.choices[edge][0] for edge in graph.edges if graph.choices[edge]}
    assert {str(s) for e, s in schemes.items() if e.src == "slice"} == {"uint8 asymmetric", "int8"}
    for group in graph.tied:
        assert len({schemes[edge] for edge in group}) == 1
