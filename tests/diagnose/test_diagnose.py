"""Where a quantized model loses accuracy: each rounding alone, and all before it together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tvm import relax

from hago.annotate.narrow import WeightFormat
from hago.diagnose import Question, diagnose
from hago.diagnose.measure import decibels, measure_costs, measure_lifted
from hago.diagnose.page import check_page, render_page
from hago.diagnose.roundings import rounding_space
from hago.errors import DataError, HagoError
from hago.progress import SILENT
from tests.cli.program import save_network
from tests.graphs import Builder, attention, input_for, machine, quantized, residual_network
from tests.onnx_models import node, normal, save
from tests.search.problems import space_of
from tests.search.stand_ins import network, samples

MACHINE = "x86-avx2"


@pytest.fixture(scope="module")
def question(tmp_path_factory) -> Question:
    folder = tmp_path_factory.mktemp("diagnose")
    return Question(network(folder / "net.onnx"), MACHINE, samples(), "min_max", samples=4)


@pytest.fixture(scope="module")
def found(question):
    return diagnose(question)


@pytest.fixture(scope="module")
def narrow(question):
    """The same with weights of 3 bits in all but the end layers."""
    return diagnose(replace(question, recipe="mse,weight_mse", weights=WeightFormat(3)))


def edge_of(found, name):
    return next(edge for edge in found.edges if edge.edge.startswith(name))


# ---- the places


@pytest.mark.parametrize("module", [residual_network(), attention()])
def test_every_edge_of_the_strategy_is_in_one_group(module):
    model = quantized(module, machine(), input_for(module))
    edges = [edge for group in rounding_space(model).groups for edge in group.edges]
    assert sorted(edges) == sorted(model.strategy)


def test_readers_of_one_set_of_codes_are_one_place():
    module = residual_network()
    model = quantized(module, machine(), input_for(module))
    firsts = [str(group.edges[0]) for group in rounding_space(model).groups]
    assert len(firsts) == len(set(firsts)) < len(model.strategy)


def test_a_reshape_of_codes_is_no_rounding_of_its_own():
    b = Builder(1, 4, 4, 8)
    value = b.conv("conv2d", b.input, 8, padding=1)
    flat = b.emit("reshape", relax.op.reshape(value, (1, 128)))
    module = b.done(b.dense("matmul", flat, 3))
    model = quantized(module, machine(), input_for(module))
    places = [list(map(str, group.edges)) for group in rounding_space(model).groups]
    assert ["conv2d -> reshape[0]", "reshape -> matmul[0]"] in places


# ---- the costs


def test_costs_are_of_each_group_alone_and_of_all_so_far():
    space, one = space_of(2, 2, 2), np.ones(4)

    def simulate(choice, _):
        return [{"y": one + 0.1 * choice[0] + 0.2 * choice[1] + 0.4 * choice[2]}]

    costs = measure_costs(space, simulate, [{}], SILENT)
    assert costs.alone == pytest.approx((0.01, 0.04, 0.16))
    assert costs.together == pytest.approx((0.01, 0.09, 0.49))


def test_together_is_compared_with_the_float_model_and_alone_without_any_rounding():
    def simulate(choice, _):  # without rounding it is not the float model
        return [{"y": np.ones(4) - 0.4 + 0.5 * choice[0]}]

    costs = measure_costs(space_of(2), simulate, [{}], SILENT, [{"y": np.ones(4)}])
    assert costs.alone == pytest.approx(((0.5 / 0.6) ** 2,))
    assert costs.together == pytest.approx((0.01,))


def test_corrected_biases_are_judged_with_all_they_make_up_for(tmp_path):
    model = save_network(tmp_path / "net.onnx")
    data = [{"image": normal(1, 3, 8, 8, seed=seed) + 1} for seed in range(8)]
    question = Question(model, MACHINE, data, "min_max", weights=WeightFormat(3, ends=True))
    plain = diagnose(question)
    corrected = diagnose(replace(question, recipe="min_max,bias_correction"))
    assert corrected.accuracy["sqnr_db"] > plain.accuracy["sqnr_db"] + 0.5
    # What is corrected already needs no correction.
    asked = [
        {method for edge in found.edges for remedy in edge.remedies for method in remedy.methods}
        for found in (plain, corrected)
    ]
    assert "bias_correction" in asked[0]
    assert "bias_correction" not in asked[1]


def test_the_worst_are_lifted_first():
    space, one = space_of(2, 2, 2), np.ones(4)

    def simulate(choice, _):
        return [{"y": one + 0.1 * choice[0] + 0.4 * choice[1] + 0.2 * choice[2]}]

    costs = measure_costs(space, simulate, [{}], SILENT)
    lifted = measure_lifted(space, simulate, [{}], costs)
    assert lifted == pytest.approx({0: 0.49, 1: 0.09, 2: 0.01})


@pytest.mark.parametrize(("noise", "db"), [(1e-3, 30.0), (1.0, 0.0), (0.0, 200.0), (1e6, -60.0)])
def test_noise_in_decibels(noise, db):
    assert decibels(noise) == pytest.approx(db)


def test_the_last_edge_so_far_is_the_whole_model(found):
    # The whole is over all samples at once, the edges' mean is over samples: of four alike ones
    # these differ by less than a decibel.
    assert found.edges[-1].together_db == pytest.approx(found.accuracy["sqnr_db"], abs=1.0)
    assert sum(edge.share for edge in found.edges) == pytest.approx(1.0)


def test_the_worst_come_first(found):
    worst = found.worst(3)
    assert [edge.alone_db for edge in worst] == sorted(e.alone_db for e in found.edges)[:3]


def test_a_tensor_with_few_bits_is_found(narrow):
    assert {edge.scheme for edge in narrow.worst(2)} == {"int3 per channel asymmetric"}
    end = edge_of(narrow, "matmul.weight")
    assert end.scheme == "int8_pairs per channel"  # the machine's own
    assert end.share < min(edge.share for edge in narrow.worst(2))


# ---- what would mend it


def test_an_outlying_channel_is_found_with_its_remedy(question, tmp_path):
    """One channel of a product's input is 60 times the others, and its weights a 60th."""
    scale = np.ones(32, np.float32)
    scale[5] = 60
    weights = {
        "w": normal(16, 32) * scale, "v": normal(32, 8) / scale[:, None],
    }  # fmt: skip
    nodes = [node("MatMul", "x w", "h"), node("Relu", "h", "r"), node("MatMul", "r v", "y")]
    model = save(tmp_path / "m.onnx", nodes, {"x": (4, 16)}, weights)
    data = [{"x": normal(4, 16, seed=seed)} for seed in range(8)]
    found = diagnose(Question(model, MACHINE, data, "min_max"))
    edge = edge_of(found, "relu -> matmul_1")
    assert edge is found.worst(1)[0]
    (first, *_) = edge.remedies
    assert first.methods[0] == "os_plus"
    assert "1 of 32 channels stand out" in first.fact
    assert found.mends[0].method == "os_plus"
    mended = diagnose(Question(model, MACHINE, data, "os_plus,min_max"))
    assert mended.accuracy["sqnr_db"] > found.accuracy["sqnr_db"] + 6


def test_a_lone_value_that_decides_the_step_is_told(question):
    data = samples()
    data[0]["x"][0, 0, 0, 0] = 300.0
    (first, *_) = edge_of(diagnose(replace(question, data=data)), "x").remedies
    assert first.methods[0] == "percentile"
    assert "the tail decides its step" in first.fact


def test_what_the_recipe_has_already_is_no_remedy(narrow):
    told = {method for edge in narrow.edges for r in edge.remedies for method in r.methods}
    assert told
    assert not told & {"mse", "weight_mse"}


def test_weights_of_few_bits_ask_for_a_better_rounding(narrow):
    facts = {r.fact: r.methods for r in edge_of(narrow, "conv2d_1.weight").remedies}
    (fact,) = (fact for fact in facts if "weights of 3 bits have 8 codes" in fact)
    assert facts[fact][0] == "gptaq"


# ---- the page


def test_the_page_has_every_edge_and_nothing_from_elsewhere(found):
    few = replace(found, edges=found.edges[:4])
    page = render_page(few)
    assert all(edge.edge.replace(">", "&gt;") in page for edge in few.edges)
    assert page.count("<svg") == 2 + 4
    assert "<script" not in page
    assert "src=" not in page
    links = {part.split('"')[0] for part in page.split('href="')[1:]}
    assert all(link.startswith("#") for link in links)


def test_the_page_depends_on_nothing_else_and_escapes_names(found):
    edge = replace(found.edges[0], edge="<script>alert(1)</script>")
    few = replace(found, edges=(edge,))
    page = render_page(few)
    assert page == render_page(few)
    assert "<script" not in page


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path):
    for path in (tmp_path, tmp_path / "no" / "page.html"):
        with pytest.raises(DataError, match="no file can be written there"):
            check_page(path)
    check_page(Path("page.html"))


# ---- what cannot be diagnosed


def test_a_model_that_came_quantized_has_no_float_model_to_compare_with(tmp_path):
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"),
        node("MatMul", "d w", "y"),
    ]  # fmt: skip
    constants = {"s": np.float32(0.1), "z": np.uint8(128), "w": normal(8, 4)}
    model = save(tmp_path / "m.onnx", nodes, {"x": (2, 8)}, constants)
    with pytest.raises(HagoError, match="quantized already"):
        diagnose(Question(model, MACHINE, [{"x": normal(2, 8)}]))


def test_what_is_wrong_with_the_recipe_is_told_before_the_model_is_read(question):
    with pytest.raises(HagoError, match="no method 'xyzzy'"):
        diagnose(replace(question, model=Path("missing.onnx"), recipe="xyzzy"))
