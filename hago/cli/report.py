"""hago report: what a search found, as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hago.cli.options import AsJson


def report(
    session: Annotated[Path, typer.Argument(metavar="DIR", help="What 'hago tune' wrote.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.html", help="Default: DIR/report.html."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write one self-contained HTML page about a search."""
    from hago.search.findings import read_findings

    findings = read_findings(session)
    if as_json:
        from hago.cli.render import print_json

        print_json(findings.to_json())
        return
    import sys

    from hago.search.page import write_page

    path = output or session / "report.html"
    write_page(findings, path)
    print(f"{path}", file=sys.stderr)
