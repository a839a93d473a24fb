"""hago recipes: the recipes, and the methods that they and --recipe are made of."""

from __future__ import annotations

from hago.cli.options import AsJson


def recipes(as_json: AsJson = False) -> None:
    """List recipes and methods, with papers, needs, and options with their defaults."""
    from hago.methods.catalogue import catalogue

    found = catalogue()
    if as_json:
        from hago.cli.render import print_json

        print_json(found.to_json())
        return
    from hago.cli.render import terminal
    from hago.cli.show_recipes import show_catalogue

    show_catalogue(terminal(), found)
