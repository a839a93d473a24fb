"""Arguments that several verbs share, and how their text is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from hago.errors import HagoError

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
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME,..",
        help="A recipe or methods, in order, options in brackets: 'hago recipes' lists them.",
    ),
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads to run on.")]
Compress = Annotated[
    bool, typer.Option("--compress", help="Store the library compressed: model.so.gz.")
]
ExportQdq = Annotated[
    Path | None,
    typer.Option("--export-qdq", metavar="FILE.onnx", help="The result as QDQ ONNX, too."),
]
ExportObject = Annotated[
    Path | None,
    typer.Option(
        "--export-object", metavar="NAME.o", help="One object and NAME.h, without a runtime."
    ),
]
WeightBits = Annotated[
    int, typer.Option("--weight-bits", metavar="2..8", help="Of all but the end layers.")
]
WeightGroup = Annotated[
    int | None, typer.Option("--weight-group", metavar="N", help="Weights of a matrix a scale.")
]
ActivationBits = Annotated[
    int,
    typer.Option(
        "--activation-bits", metavar="2..8", help="Of what all but the end layers read."
    ),
]
NarrowEnds = Annotated[
    bool, typer.Option("--narrow-ends", help="Narrow the first and the last layer, too.")
]
TuneKernels = Annotated[
    str | None,
    typer.Option(
        "--tune-kernels",
        metavar="2m",
        help="Race schedules of the kernels for so long; the kernel cache keeps the fastest.",
    ),
]
NoKernelCache = Annotated[
    bool,
    typer.Option(
        "--no-kernel-cache", help="Build kernels as on any computer; keep nothing of a race."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

_SHAPE = re.compile(r"(?P<name>.+)=(?P<extents>[0-9]+(x[0-9]+)*)")
# As users write them; hago says "bfloat16" inside.
PRECISIONS = {
    "auto": "auto", "int8": "int8", "fp8": "float8", "bf16": "bfloat16", "float32": "float32",
}  # fmt: skip


class UsageError(HagoError):
    """The text of an option cannot be read."""


def parse_shapes(texts: list[str] | None) -> dict[str, tuple[int, ...]]:
    """``["in=1x3"]`` as ``{"in": (1, 3)}``. Raises UsageError on anything else."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        match = _SHAPE.fullmatch(text)
        if match is None:
            raise _not_a_shape(text, "it is not of the form INPUT=SIZExSIZE..")
        extents = tuple(int(extent) for extent in match["extents"].split("x"))
        if 0 in extents:
            raise _not_a_shape(text, "it has a size of 0")
        if match["name"] in shapes:
            raise _not_a_shape(text, f"input '{match['name']}' has a shape already")
        shapes[match["name"]] = extents
    return shapes


def _not_a_shape(text: str, fact: str) -> UsageError:
    way_out = "Write for example --shape image=1x3x224x224, once for each input."
    return UsageError(f"--shape {text}: not a shape", fact=fact, way_out=way_out)


def parse_precision(text: str) -> str:
    """One of :data:`PRECISIONS` by hago's own name. Raises UsageError on anything else."""
    from hago.sample import did_you_mean

    name = text.lower()
    if name in PRECISIONS:
        return PRECISIONS[name]
    if name in PRECISIONS.values():
        return name
    raise UsageError(
        f"--precision {text}: no such precision{did_you_mean(name, PRECISIONS)}",
        fact=f"hago knows {', '.join(PRECISIONS)}",
        way_out="Give one of these; 'auto' keeps what was measured to be fastest.",
    )
