"""From the words of a recipe and the facts of a model to methods, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from hago.errors import StrategyError
from hago.methods.facts import Facts
from hago.methods.method import Method, extra_of, find_method, known_methods
from hago.methods.options import given_options, options_of
from hago.methods.recipes import RECIPES, SITUATIONS, Pick, Recipe
from hago.methods.syntax import Step, parse_steps
from hago.report import LeftOutReport, MethodReport, RecipeReport
from hago.sample import did_you_mean


@dataclass(frozen=True)
class Picked:
    """The ``methods`` of a recipe for one model, and the ``report`` that says why."""

    methods: tuple[Method, ...]
    report: RecipeReport | None


NONE = Picked((), None)


def check_recipe(recipe: str | Iterable[str]) -> None:
    """Raises StrategyError for what is unknown or cannot be read, before there is a model."""
    for step in parse_steps(recipe):
        list(_rows(step, Facts()))


def pick_methods(recipe: str | Iterable[str], facts: Facts) -> Picked:
    """The methods that ``recipe`` names, its named recipes replaced by what they hold for a model
    with ``facts``.

    Options of a named recipe go to those of its methods that have them: ``best(seed=1)``. Raises
    StrategyError for what is unknown, cannot be read, or needs a package that is not installed.
    """
    texts = (recipe,) if isinstance(recipe, str) else tuple(recipe)
    rows = [row for step in parse_steps(texts) for row in _rows(step, facts)]
    chosen = [(method, reason) for method, reason, holds in rows if holds]
    _check_installed(method for method, _ in chosen)
    names = {method.name for method, _ in chosen}  # another row may have it with other options
    report = RecipeReport(
        asked=",".join(texts),
        facts=str(facts),
        methods=tuple(MethodReport(m.name, given_options(m), why) for m, why in chosen),
        left_out=tuple(
            LeftOutReport(m.name, why)
            for m, why, holds in rows
            if not holds and m.name not in names
        ),
    )
    return Picked(tuple(method for method, _ in chosen), report)


def _rows(step: Step, facts: Facts) -> Iterator[tuple[Method, str, bool]]:
    """Each method of a step, the reason, and whether it is wanted."""
    recipe = RECIPES.get(step.name)
    if recipe is None:
        _check_name(step)
        yield find_method(step), "asked for", True
        return
    _check_options(recipe, step)
    for pick in recipe.picks:
        situation = SITUATIONS[pick.when]
        (own,) = parse_steps(pick.method)
        method = find_method(Step(own.name, {**own.options, **_shared(own, step)}))
        if situation.holds(facts):
            told = situation.tell(facts)
            yield method, pick.why + (f" ({told})" if told else ""), True
        else:
            yield method, f"for models whose {situation.about}", False


def _shared(own: Step, step: Step) -> dict[str, object]:
    """Those of a recipe's options that one of its methods has."""
    names = {option.name for option in options_of(known_methods()[own.name])}
    return {name: value for name, value in step.options.items() if name in names}


def _check_name(step: Step) -> None:
    """An unknown word may be a recipe's as well as a method's."""
    known = known_methods()
    near = did_you_mean(step.name, [*RECIPES, *known])
    if near and step.name not in known and did_you_mean(step.name, known) != near:
        raise StrategyError(
            f"no recipe '{step.name}'{near}",
            fact=f"the recipes are {', '.join(RECIPES)}",
            source="hago/methods/recipes.py",
            way_out="Give one of these, or name methods; 'hago recipes' lists both.",
        )


def _check_options(recipe: Recipe, step: Step) -> None:
    methods = [known_methods()[_name(pick)] for pick in recipe.picks]
    known = {option.name for method in methods for option in options_of(method)}
    for name in step.options:
        if name not in known:
            raise StrategyError(
                f"{recipe.name}: no method of it has an option '{name}'{did_you_mean(name, known)}",
                fact=f"their options are {', '.join(sorted(known)) or 'none'}",
                way_out="Give one of these, or name the methods yourself: 'hago recipes'.",
            )


def _name(pick: Pick) -> str:
    return parse_steps(pick.method)[0].name


def _check_installed(methods: Iterable[Method]) -> None:
    """Raises StrategyError where a method needs an extra that is not installed."""
    lacking = [method.name for method in methods if extra_of(method) and not is_installed(method)]
    if lacking:
        raise StrategyError(
            f"{', '.join(lacking)}: PyTorch is not installed",
            fact="methods that learn take their gradients from it",
            way_out="pip install 'hago[torch]', or use --recipe balanced, which needs none.",
        )


def is_installed(method: object) -> bool:
    """Whether the extra that a method (or its class) needs is there."""
    extra = extra_of(method)
    return not extra or find_spec(extra) is not None
