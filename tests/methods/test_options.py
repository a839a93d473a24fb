"""Options of methods: values are checked against the fields of the dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from hago.errors import StrategyError
from hago.methods.ada_round import AdaRound
from hago.methods.method import find_methods, known_methods
from hago.methods.options import given_options, options_of, with_options


@dataclass(frozen=True)
class Example:
    """A method with an option of every kind."""

    count: int = 1
    share: float = 0.5
    pair: tuple[float, float] = (1.0, 2.0)
    many: tuple[int, ...] = ()
    name: str = ""
    kind: Literal["a", "b"] = "a"
    limit: int | None = None
    on: bool = False

    def __post_init__(self) -> None:
        if self.count > 99:
            raise ValueError("count is above 99")


FITTING = {
    "count": (3, 3),
    "share": (2, 2.0),
    "pair": ([3, 4], (3.0, 4.0)),
    "many": ([1, 2, 3], (1, 2, 3)),
    "name": ("x", "x"),
    "kind": ("b", "b"),
    "limit": (None, None),
    "on": (True, True),
}


@pytest.mark.parametrize("option", FITTING)
def test_a_fitting_value_becomes_the_field(option):
    given, expected = FITTING[option]
    found = getattr(with_options(Example, "example", {option: given}), option)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("count", 1.5, "of type float"),
        ("count", True, "of type bool"),
        ("count", "1", "of type str"),
        ("share", True, "of type bool"),
        ("share", float("inf"), "not finite"),
        ("share", None, "of type NoneType"),
        ("pair", (1.0,), "of length 1, not 2"),
        ("pair", (1.0, "x"), "of type str"),
        ("pair", 1.0, "of type float"),
        ("name", 1, "of type int"),
        ("kind", "c", "of type str"),
        ("limit", 1.5, "of type float"),
        ("on", 1, "of type int"),
        ("count", -1, "negative"),
        ("share", -0.5, "negative"),
        ("pair", (1.0, -1.0), "negative"),
        ("count", 0, "too small"),
    ],
)
def test_a_value_of_another_type_is_refused_with_what_the_option_takes(option, value, words):
    with pytest.raises(StrategyError) as caught:
        with_options(Example, "example", {option: value})
    assert words in caught.value.what
    assert f"it takes {option}: " in caught.value.fact


def test_a_value_that_the_method_refuses_is_an_error_of_the_user():
    with pytest.raises(StrategyError, match="example: count is above 99"):
        with_options(Example, "example", {"count": 100})


@pytest.mark.parametrize("name", sorted(known_methods()))
def test_no_method_takes_counts_of_nothing_or_less(name):
    counts = [o for o in options_of(known_methods()[name]) if o.type == "int" and o.default]
    allowed = getattr(known_methods()[name], "may_be_zero", ())
    for option in counts:
        with pytest.raises(StrategyError, match=f"{option.name}=-1 is negative"):
            find_methods(f"{name}({option.name}=-1)")
        if option.name not in allowed:
            with pytest.raises(StrategyError, match=f"{option.name}=0 is too small"):
                find_methods(f"{name}({option.name}=0)")


def test_an_unknown_option_is_refused_with_a_suggestion_and_all_options():
    with pytest.raises(StrategyError) as caught:
        find_methods("ada_round(step=5)")
    assert "did you mean 'steps'?" in caught.value.what
    for option in options_of(AdaRound):
        assert f"{option.name}: {option.type} = {option.default!r}" in caught.value.fact


def test_a_method_without_options_says_so():
    with pytest.raises(StrategyError, match="it has no options"):
        find_methods("mse(keep=1)")


def test_what_was_given_can_be_told():
    (method,) = find_methods("percentile(keep=99)")
    assert given_options(method) == {"keep": 99.0}
