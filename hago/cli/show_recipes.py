"""Recipes and methods as tables."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from hago.cli.render import print_indented, print_table, table_of
from hago.methods.catalogue import Catalogue, MethodRow, PickReport, RecipeRow


def show_catalogue(console: Console, catalogue: Catalogue) -> None:
    """The recipes with what they are made of, then the methods with their options."""
    console.print()
    table = table_of("recipe", "methods, in order")
    for recipe in catalogue.recipes:
        table.add_row(_heading(recipe), Text(recipe.about))
        for pick in recipe.picks:
            table.add_row("", _pick(pick))
    print_table(console, table)
    console.print()
    table = table_of("method", "what it does, its options with their defaults, its source")
    for method in catalogue.methods:
        table.add_row(_name(method), _facts(method))
    print_table(console, table)
    console.print()
    print_indented(console, "--recipe 'percentile(keep=99.9),obc'   --recipe 'best(seed=1)'")
    print_indented(console, Text("* the default   + needs PyTorch: pip install 'hago[torch]'",
                                 style="dim"))  # fmt: skip
    console.print()


def _heading(recipe: RecipeRow) -> Text:
    return Text(f"{recipe.name}{' *' if recipe.is_default else ''}", style="bold")


def _pick(pick: PickReport) -> Text:
    condition = f"  where {pick.when}" if pick.when else ""
    return Text.assemble(pick.method, (condition, "dim"))


def _name(method: MethodRow) -> Text:
    return Text(f"{method.name}{' +' if method.needs else ''}")


def _facts(method: MethodRow) -> Text:
    """What it does, its options as a recipe writes them, its paper."""
    given = ", ".join(f"{option.name}={option.default!r}" for option in method.options)
    lines = (Text(method.about), Text(given), Text(method.paper, style="dim"))
    return Text("\n").join(line for line in lines if line)
