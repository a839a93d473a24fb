"""Named recipes: what they come to for a model, and that they say why."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
from tvm import relax

import hago.methods.pick
from hago.errors import StrategyError
from hago.methods.catalogue import catalogue
from hago.methods.facts import Facts, facts_of
from hago.methods.method import extra_of, known_methods
from hago.methods.pick import check_recipe, pick_methods
from hago.methods.recipes import RECIPES, SITUATIONS
from hago.pipeline import Options
from hago.scheme import INT7, INT8, INT8_PAIRS
from tests.graphs import S8_CHANNEL, U8, Builder, attention, machine, residual_network, row

CONVOLUTIONS = Facts(convolutions=49, depthwise=16, products=1, residuals=9)
TRANSFORMER = Facts(products=36, normalised=24, attentions=6, residuals=12)
FOLDER = Path(hago.methods.pick.__file__).parent


def names(recipe, facts):
    return [method.name for method in pick_methods(recipe, facts).methods]


def narrow(facts, bits=4):
    return Facts(**{**vars(facts), "weight_bits": bits})


def test_the_default_at_8_bits():
    found = ["channel_splitting", "os_plus", "mse", "obc", "bias_correction"]
    assert names("balanced", CONVOLUTIONS) == found


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("facts", [CONVOLUTIONS, TRANSFORMER])
@pytest.mark.parametrize("bits", range(2, 9))
def test_every_recipe_chooses_ranges_for_every_model(recipe, facts, bits):
    found = pick_methods(recipe, narrow(facts, bits)).report
    assert {"mse", "mean", "lapq", "min_max"} & {method.name for method in found.methods}
    assert all(method.reason for method in found.methods)


def test_the_best_recipe_mends_earlier_layers_where_weights_are_narrow_only():
    for facts in (CONVOLUTIONS, TRANSFORMER):
        assert "gptaq" in names("best", narrow(facts))
        assert "gptaq" not in names("best", facts)


def test_biases_of_convolutions_are_corrected_last():
    for recipe in ("balanced", "best"):
        assert names(recipe, CONVOLUTIONS)[-1] == "bias_correction"
        assert "bias_correction" not in names(recipe, narrow(CONVOLUTIONS))
        assert "bias_correction" not in names(recipe, TRANSFORMER)


def test_narrow_convolutions_are_not_scaled_for_weights_of_8_bits():
    assert "os_plus" not in names("best", narrow(CONVOLUTIONS))
    assert "os_plus" in names("best", narrow(TRANSFORMER))


@pytest.mark.parametrize("recipe", ["balanced", "best"])
def test_products_with_narrow_weights_are_scaled_for_less(recipe):
    gains = {}
    for facts in (TRANSFORMER, narrow(TRANSFORMER)):
        picked = pick_methods(recipe, facts)
        (gains[facts.weight_bits],) = (m.gain for m in picked.methods if m.name == "os_plus")
        assert "os_plus" not in {method.name for method in picked.report.left_out}
    assert gains[4] < gains[8]


@pytest.mark.parametrize("recipe", ["balanced", "best"])
def test_attention_is_evened_out_where_there_is_some(recipe):
    assert "smooth_attention" in names(recipe, TRANSFORMER)
    assert "smooth_attention" not in names(recipe, CONVOLUTIONS)


def test_a_reason_has_the_numbers_of_the_model():
    report = pick_methods("best", CONVOLUTIONS).report
    (scaled,) = (method for method in report.methods if method.name == "weight_output")
    assert "weights of 8 bits, 16 depthwise convolutions" in scaled.reason
    (left,) = (each for each in report.left_out if each.name == "gptaq")
    assert "at most 6 bits" in left.reason


def test_recipes_and_methods_stand_in_one_list():
    assert names("fast,obc", CONVOLUTIONS) == ["mse", "obc"]
    assert pick_methods(("fast", "obc"), CONVOLUTIONS).report.asked == "fast,obc"


def test_options_of_a_recipe_go_to_its_methods_that_have_them():
    methods = pick_methods("best(seed=7,damping=0.5)", narrow(CONVOLUTIONS)).methods
    seeds = [method.seed for method in methods if hasattr(method, "seed")]
    assert set(seeds) == {7}
    assert names("best(seed=7)", CONVOLUTIONS) == names("best", CONVOLUTIONS)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("best(sed=7)", "no method of it has an option 'sed', did you mean 'seed'"),
        ("best(seed='x')", "seed='x' is of type str"),
        ("fastt", "no recipe 'fastt', did you mean 'fast'"),
        ("percentil", "no method 'percentil', did you mean 'percentile'"),
        ("xyzzy", "no method 'xyzzy'"),
    ],
)
def test_what_is_unknown_is_refused_before_there_is_a_model(recipe, words):
    with pytest.raises(StrategyError, match=words):
        check_recipe(recipe)


def test_options_of_a_compilation_refuse_a_recipe_that_cannot_be_read():
    assert Options(recipe="best(seed=1)").recipe == "best(seed=1)"
    with pytest.raises(StrategyError, match="never closed"):
        Options(recipe=("mse", "percentile(keep=99"))


@pytest.mark.parametrize("spelling", ["AdaRound", "adaround", "Ada_Round"])
def test_a_method_may_be_spelled_as_its_paper_does(spelling):
    assert names(spelling, CONVOLUTIONS) == ["ada_round"]


def test_without_pytorch_one_error_says_what_else_works(monkeypatch):
    monkeypatch.setattr(hago.methods.pick, "find_spec", lambda name: None)
    with pytest.raises(StrategyError) as caught:
        pick_methods("best", narrow(CONVOLUTIONS))
    assert "gptaq: PyTorch is not installed" in str(caught.value)
    assert "--recipe balanced" in caught.value.way_out
    assert pick_methods("balanced", narrow(CONVOLUTIONS)).methods


def imports_of(name: str) -> set[str]:
    """The modules of hago that ``name`` needs to be loaded, itself included; all the way down."""
    found, left = set(), [name]
    while left:
        current = left.pop()
        if current in found:
            continue
        found.add(current)
        path = FOLDER / f"{current.removeprefix('hago.methods.')}.py"
        if current.startswith("hago.methods.") and path.exists():
            tree = ast.parse(path.read_text())
            left += [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
    return found


@pytest.mark.parametrize("name", sorted(known_methods()))
def test_a_method_names_the_package_that_it_needs(name):
    method = known_methods()[name]
    needs_torch = "hago.gradient" in imports_of(method.__module__)
    assert extra_of(method) == ("torch" if needs_torch else "")
    assert not needs_torch or importlib.util.find_spec("torch")


def test_every_situation_is_used_and_told_with_facts():
    used = {pick.when for recipe in RECIPES.values() for pick in recipe.picks}
    assert used == set(SITUATIONS)
    assert not any("{" in each.tell(CONVOLUTIONS) for each in SITUATIONS.values())


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_are_either_low_or_high(bits):
    facts = Facts(weight_bits=bits)
    assert SITUATIONS["low bits"].holds(facts) != SITUATIONS["high bits"].holds(facts)


def test_facts_are_counted_in_the_graph():
    found = facts_of(residual_network(), 4)
    assert found == Facts(convolutions=3, depthwise=1, products=1, residuals=1, weight_bits=4)
    assert facts_of(attention(), 8) == Facts(products=4, attentions=1)


@pytest.mark.parametrize("weight", [INT7, INT8, INT8_PAIRS], ids=str)
def test_a_machine_whose_products_take_fewer_bits_has_narrow_weights(weight):
    spec = machine(ops=(row("conv2d", U8, replace(S8_CHANNEL, dtype=weight)),))
    facts = facts_of(residual_network(), 8, spec)
    assert facts.weight_bits == weight.bits
    assert ("weight_output" in names("balanced", facts)) == (weight.bits < 8)
    assert facts_of(residual_network(), 4, spec).weight_bits == 4


def test_products_that_read_a_normalisation_through_a_reshape_are_counted():
    b = Builder(1, 4, 8)
    normal = b.emit("norm", relax.op.nn.layer_norm(b.input, b.const(8), b.const(8), -1))
    b.dense("other", b.input, 8)
    flat = b.emit("flat", relax.op.reshape(normal, (4, 8)))
    assert facts_of(b.done(b.dense("read", flat, 3)), 8) == Facts(products=2, normalised=1)


def test_the_catalogue_has_all_there_is():
    found = catalogue()
    assert [recipe.name for recipe in found.recipes] == list(RECIPES)
    assert [method.name for method in found.methods] == sorted(known_methods())
    assert [recipe.name for recipe in found.recipes if recipe.is_default] == ["balanced"]
