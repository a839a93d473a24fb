"""Arguments that several verbs share, and how their text is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.", show_default=False)]
Artifact = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder that 'hago compile' wrote.")
]
Hardware = Annotated[
    str, typer.Option("--hw", metavar="NAME|FILE", help="A machine: 'hago spec list', or a file.")
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", metavar="INPUT=1x3x224x224", help="Fixes an input's shape; repeat for others."
    ),
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads to run on.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

_SHAPE = re.compile(r"(?P<name>.+)=(?P<extents>[0-9]+(x[0-9]+)*)")


def parse_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """``["in=1x3"]`` as ``{"in": (1, 3)}``. Raises a usage error on anything else."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise typer.BadParameter(f"'{text}' is not of the form INPUT=1x3x224x224")
        extents = tuple(int(extent) for extent in match["extents"].split("x"))
        if 0 in extents:
            raise typer.BadParameter(f"'{text}' has an extent of 0")
        shapes[match["name"]] = extents
    return shapes
