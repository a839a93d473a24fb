"""The ladder tells methods what each rung is about."""

import pytest

from hago.methods.method import find_methods

pytest.importorskip("PIL.Image", reason="the zoo's data needs Pillow")

from tests.zoo.ladder import RUNGS, told


@pytest.mark.parametrize("rung", ["ada_quant", "ada_round", "brecq", "gptaq"])
def test_a_method_that_learns_sees_all_pictures(rung):
    """Pictures of one photograph are neighbours: the first 512 of 1,040 show half of them."""
    *_, method = find_methods(RUNGS[rung])
    assert told(method, {}, 1040).samples == 1040


def test_a_method_is_told_only_what_it_has_an_option_for():
    (method,) = find_methods("mse")
    assert told(method, {"seed": 1, "cache": "folder"}, 1040) == method
