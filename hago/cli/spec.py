"""hago spec: the machines that hago knows, and whether a file describes one."""

from __future__ import annotations

from typing import Annotated

import typer

from hago.cli.options import AsJson
from hago.report import Json

app = typer.Typer(help="Hardware specifications.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A built-in machine, or a file.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the built-in machines; those that this computer is are marked with *."""
    from hago.cli.render import print_json, terminal
    from hago.cli.show_spec import show_specs
    from hago.hardware.host import missing_features
    from hago.hardware.load import list_specs, load_spec

    specs = [load_spec(name) for name in list_specs()]
    here = [spec.name for spec in specs if spec.features and not missing_features(spec)]
    if as_json:
        machines: dict[str, Json] = {
            spec.name: {"description": spec.description, "runs_here": spec.name in here}
            for spec in specs
        }
        print_json(machines)
    else:
        show_specs(terminal(), specs, here)


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show one machine: what it computes, from which row of which file."""
    from hago.cli.render import print_json, terminal
    from hago.cli.show_spec import show_spec
    from hago.hardware.load import load_spec, spec_digest, spec_to_json

    spec = load_spec(name)
    if as_json:
        print_json({**spec_to_json(spec), "digest": spec_digest(spec)})
    else:
        show_spec(terminal(), spec)


@app.command()
def check(file: Name, as_json: AsJson = False) -> None:
    """Check a specification file; the first mistake is shown with its line."""
    from hago.cli.render import print_json
    from hago.hardware.load import load_spec, spec_digest

    spec = load_spec(file)
    operators = len({row.op for row in spec.ops})
    if as_json:
        print_json(
            {
                "name": spec.name,
                "rows": len(spec.ops),
                "operators": operators,
                "digest": spec_digest(spec),
            }
        )
    else:
        print(f"{file}: '{spec.name}' has {len(spec.ops)} rows for {operators} operators")
