"""The text of a recipe: names, with options in brackets where they differ from the defaults.

    percentile(keep=99.99),ada_round(steps=500)

It has the form of Python's calls and is read by Python's parser, but never run: values are
constants, and whatever else stands there is an error that points at its place.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from hago.errors import StrategyError

_CLOSED_BY = {"(": ")", "[": "]", "{": "}"}
_QUOTES = ("'", '"')
_LONGEST = 2000  # characters of a recipe: what is longer is another file's text
_WAY_OUT = "Write METHOD or METHOD(OPTION=VALUE,..), with commas between: os_plus,obc(damping=0.02)"


@dataclass(frozen=True)
class Step:
    """A method or a recipe by ``name``, with the ``options`` that were given for it."""

    name: str
    options: Mapping[str, object] = field(default_factory=dict)


def parse_steps(recipe: str | Iterable[str]) -> tuple[Step, ...]:
    """The steps of a recipe, in order: one text, or several texts one after the other.

    Raises StrategyError, with the place in the text, for what is not of the module's form.
    """
    texts = [recipe] if isinstance(recipe, str) else list(recipe)
    steps = tuple(step for text in texts for step in _Text(text).steps())
    if not steps:
        raise StrategyError(
            f"recipe '{','.join(texts)}': names no method",
            fact="a recipe is a list of methods, for example os_plus,mse,obc",
            way_out="Name methods or a recipe; 'hago recipes' lists them.",
        )
    return steps


@dataclass(frozen=True)
class _Text:
    text: str

    def steps(self) -> Iterator[Step]:
        line = self.text.replace("\n", " ")
        if not line.replace(",", "").strip():
            return
        self._check_brackets(line)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # of backslashes in quoted text
                tree = ast.parse(line.lstrip(), mode="eval").body
        except SyntaxError as error:
            self._refuse("cannot be read", (error.offset or 1) - 1 + self._indent)
        except (ValueError, RecursionError, MemoryError):
            self._refuse("cannot be read", 0)
        is_list = isinstance(tree, ast.Tuple) and not line.lstrip().startswith("(")
        for node in tree.elts if is_list and isinstance(tree, ast.Tuple) else [tree]:
            yield self._step(node)

    def _step(self, node: ast.expr) -> Step:
        call = node if isinstance(node, ast.Call) else None
        name = node if call is None else call.func
        if not isinstance(name, ast.Name):
            self._refuse("a method's name was expected", self._place(name))
        if call is None:
            return Step(name.id)
        if call.args:
            self._refuse("an option is given by its name", self._place(call.args[0]))
        options: dict[str, object] = {}
        for keyword in call.keywords:
            if keyword.arg is None or keyword.arg in options:
                self._refuse("an option is given once, by its name", self._place(keyword.value))
            options[keyword.arg] = self._value(keyword.value)
        return Step(name.id, options)

    def _value(self, node: ast.expr) -> object:
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, RecursionError, MemoryError):
            self._refuse("a number, True, False or 'text' was expected", self._place(node))

    @property
    def _indent(self) -> int:
        return len(self.text) - len(self.text.lstrip())

    def _place(self, node: ast.expr) -> int:
        """Where ``node`` begins, in characters of the text."""
        before = self.text.lstrip().encode()[: node.col_offset]
        return self._indent + len(before.decode(errors="replace"))

    def _check_brackets(self, line: str) -> None:
        """Brackets that do not match are told here: Python's own words differ by its version."""
        if len(line) > _LONGEST:
            self._refuse(f"longer than {_LONGEST} characters", _LONGEST)
        opened: list[int] = []  # the places of brackets, and of a quotation mark at the end
        for place, letter in enumerate(line):
            last = line[opened[-1]] if opened else ""
            if last in _QUOTES:
                if letter == last:
                    opened.pop()
            elif letter in _CLOSED_BY or letter in _QUOTES:
                opened.append(place)
            elif letter in _CLOSED_BY.values():
                if _CLOSED_BY.get(last) != letter:
                    self._refuse(f"{letter} closes nothing", place)
                opened.pop()
        if opened:
            self._refuse(f"{line[opened[-1]]} is never closed", opened[-1])

    def _refuse(self, what: str, place: int) -> NoReturn:
        """An error that shows the text around ``place`` with a mark below."""
        start = max(0, place - 60)
        shown = "".join(c if c.isprintable() else " " for c in self.text[start : start + 76])
        mark = " " * (place - start) + "^"
        raise StrategyError(f"recipe: {what}", fact=f"{shown}\n  {mark}", way_out=_WAY_OUT)
