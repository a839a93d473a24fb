"""The text of a recipe: what can be written, and where an error points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hago.errors import StrategyError
from hago.methods.syntax import Step, parse_steps

READ = {
    "mse": [Step("mse")],
    " mse , obc ": [Step("mse"), Step("obc")],
    "mse,": [Step("mse")],
    "mse()": [Step("mse")],
    "percentile(keep=99.9)": [Step("percentile", {"keep": 99.9})],
    "a(b=-1),c(d=(1, 2),e='x,y)')": [
        Step("a", {"b": -1}), Step("c", {"d": (1, 2), "e": "x,y)"}),
    ],
    "a(\n b=True\n)": [Step("a", {"b": True})],
}  # fmt: skip


@pytest.mark.parametrize("text", READ)
def test_names_with_options_are_read(text):
    assert list(parse_steps(text)) == READ[text]


def test_several_texts_follow_each_other():
    assert parse_steps(["mse", "obc,kl"]) == parse_steps("mse,obc,kl")


# What is wrong: the text, a word of the error, and the text from the marked place on.
WRONG = {
    "percentile(keep=99.9,obc": ("( is never closed", "(keep=99.9,obc"),
    "a(b=1),c(d=(1,2)": ("( is never closed", "(d=(1,2)"),
    "a(b='x": ("' is never closed", "'x"),
    "mse),obc": (") closes nothing", "),obc"),
    "a(b=[1)": (") closes nothing", ")"),
    "mse,,obc": ("cannot be read", ",obc"),
    "mse obc": ("cannot be read", "obc"),
    "mse=3": ("cannot be read", "=3"),
    "percentile(99.9)": ("given by its name", "99.9)"),
    "a(b=1,b=2)": ("given once", "2)"),
    "a(**{})": ("given once", "{})"),
    "a(b=c)": ("was expected", "c)"),
    "a(b=__import__('os'))": ("was expected", "__import__('os'))"),
    "a(b=1 if 2 else 3)": ("was expected", "1 if 2 else 3)"),
    "os.system('x')": ("a method's name was expected", "os.system('x')"),
    "ada-round": ("a method's name was expected", "ada-round"),
    "é,a(b=ü)": ("was expected", "ü)"),
}


@pytest.mark.parametrize("text", WRONG)
def test_an_error_points_at_its_place(text):
    words, rest = WRONG[text]
    with pytest.raises(StrategyError) as caught:
        parse_steps(text)
    what, shown, mark, _ = str(caught.value).splitlines()
    assert words in what
    assert shown[mark.index("^") :] == rest


@pytest.mark.parametrize("text", ["", " ", ",", ", ,"])
def test_a_recipe_names_a_method(text):
    with pytest.raises(StrategyError, match="names no method"):
        parse_steps(text)


@pytest.mark.parametrize("text", ["(" * 500, "a(b=" + "-" * 1500 + "1)", "a" * 3000, "\x00", "a\\"])
def test_nothing_but_an_error_comes_of_nonsense(text):
    with pytest.raises(StrategyError):
        parse_steps(text)


@given(st.text(alphabet="ab_(),='\"[]{}.*-: 19\\\n#é", max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        steps = parse_steps(text)
    except StrategyError:
        return
    assert all(step.name.isidentifier() for step in steps)
