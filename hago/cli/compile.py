"""hago compile: a model file becomes an artifact folder."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from hago.cli.options import AsJson, Hardware, Model, Shapes, Threads, parse_shapes


class Precision(str, Enum):
    """What may be chosen from; ``auto`` takes whatever was measured to be fastest."""

    AUTO = "auto"
    INT8 = "int8"
    BF16 = "bf16"
    FLOAT32 = "float32"


_NAMES = {Precision.BF16: "bfloat16"}  # elsewhere hago says it in full


def compile_(
    model: Model,
    hw: Hardware,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="To be written.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="An .npz or a folder of .npy, by input."),
    ] = None,
    precision: Annotated[Precision, typer.Option("--precision")] = Precision.AUTO,
    recipe: Annotated[
        str | None, typer.Option("--recipe", metavar="NAME,...", help="Methods, in order.")
    ] = None,
    shape: Shapes = None,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Quantize MODEL for a machine, compile it, measure it."""
    shapes = parse_shapes(shape)
    from hago.pipeline import DEFAULT_RECIPE, Options, compile_model

    names = DEFAULT_RECIPE if recipe is None else tuple(n.strip() for n in recipe.split(",") if n)
    options = Options(_NAMES.get(precision, precision.value), names, shapes, threads)
    from rich.console import Console

    from hago.cli.progress import drawn_progress
    from hago.cli.render import print_json, show_compile

    with drawn_progress() as progress:
        report = compile_model(model, hw, data, output, options, progress)
    if as_json:
        print_json(report.to_json())
    else:
        show_compile(Console(), report)
