"""hago inspect: what every edge of a model may be on a machine."""

from __future__ import annotations

from hago.cli.options import AsJson, Hardware, Model, Shapes, parse_shapes


def inspect(model: Model, hw: Hardware, shape: Shapes = None, as_json: AsJson = False) -> None:
    """Show every edge of MODEL on a machine: its choices, what stays float and why."""
    shapes = parse_shapes(shape)
    from hago.cli.render import print_json, terminal
    from hago.cli.show_edges import show_inspect
    from hago.pipeline import inspect_model

    report = inspect_model(model, hw, shapes)
    if as_json:
        print_json(report.to_json())
    else:
        show_inspect(terminal(), report)
