"""Everything that a recipe may name, as data to be shown."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from hago.methods.method import extra_of, known_methods
from hago.methods.options import OptionReport, options_of
from hago.methods.pick import is_installed
from hago.methods.recipes import DEFAULT, RECIPES, SITUATIONS, Recipe
from hago.report import Json, plain_dataclass


@dataclass(frozen=True)
class PickReport:
    """A row of a recipe: a method, what for, and for which models."""

    method: str
    why: str
    when: str


@dataclass(frozen=True)
class RecipeRow:
    """A named recipe."""

    name: str
    about: str
    is_default: bool
    picks: tuple[PickReport, ...]


@dataclass(frozen=True)
class MethodRow:
    """A method: ``needs`` is the package that it needs beside hago's own, if any."""

    name: str
    about: str
    paper: str
    needs: str
    is_installed: bool
    options: tuple[OptionReport, ...]


@dataclass(frozen=True)
class Catalogue:
    """All recipes in the table's order, all methods by name."""

    recipes: tuple[RecipeRow, ...]
    methods: tuple[MethodRow, ...]

    def to_json(self) -> dict[str, Json]:
        return plain_dataclass(self)


def catalogue() -> Catalogue:
    """What is there now, the methods of other packages included."""
    methods = known_methods()
    return Catalogue(
        tuple(map(_recipe, RECIPES.values())),
        tuple(_method(name, methods[name]) for name in sorted(methods)),
    )


def _recipe(recipe: Recipe) -> RecipeRow:
    picks = (
        PickReport(pick.method, pick.why, _condition(pick.when)) for pick in recipe.picks
    )
    return RecipeRow(recipe.name, recipe.about, recipe.name == DEFAULT, tuple(picks))


def _condition(when: str) -> str:
    """The situation in words; none where it always holds."""
    return "" if when == "always" else SITUATIONS[when].about


def _method(name: str, method: object) -> MethodRow:
    return MethodRow(
        name=name,
        about=(inspect.getdoc(method) or "").split("\n\n")[0].replace("\n", " "),
        paper=str(getattr(method, "paper", "")),
        needs=extra_of(method),
        is_installed=is_installed(method),
        options=options_of(method),
    )
