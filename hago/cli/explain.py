"""hago explain: why one edge of an artifact is what it is."""

from __future__ import annotations

from typing import Annotated

import typer

from hago.cli.options import Artifact, AsJson


def explain(
    folder: Artifact,
    edge: Annotated[str, typer.Argument(metavar="EDGE", help="E.g. 'conv2d_1 -> add_3[0]'.")],
    as_json: AsJson = False,
) -> None:
    """Say why an EDGE of an artifact has its precision, scale and kernel."""
    from hago.cli.render import print_json, terminal
    from hago.cli.show_edges import show_edge
    from hago.deploy.manifest import read_manifest
    from hago.edges import find_edge

    found = find_edge(read_manifest(folder).edges, edge)
    if as_json:
        print_json(found.to_json())
    else:
        show_edge(terminal(), found)
