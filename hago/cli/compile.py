"""hago compile: a model file becomes an artifact folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hago.cli.options import (
    ActivationBits,
    AsJson,
    Compress,
    ExportObject,
    ExportQdq,
    Hardware,
    Model,
    NarrowEnds,
    NoKernelCache,
    Recipe,
    Shapes,
    Threads,
    TuneKernels,
    WeightBits,
    WeightGroup,
    parse_precision,
    parse_shapes,
)
from hago.cli.quantities import SECONDS, parse_optional


def compile_(
    model: Model,
    hw: Hardware,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="To be written.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="An .npz or a folder of .npy, by input."),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision",
            metavar="auto|int8|fp8|bf16|float32",
            help="'auto' keeps what was measured to be fastest, mixed if need be.",
        ),
    ] = "auto",
    recipe: Recipe = None,
    shape: Shapes = None,
    threads: Threads = 1,
    export_qdq: ExportQdq = None,
    export_object: ExportObject = None,
    weight_bits: WeightBits = 8,
    weight_group: WeightGroup = None,
    activation_bits: ActivationBits = 8,
    narrow_ends: NarrowEnds = False,
    compress: Compress = False,
    tune_kernels: TuneKernels = None,
    no_kernel_cache: NoKernelCache = False,
    as_json: AsJson = False,
) -> None:
    """Quantize MODEL for a machine, compile it, measure it."""
    shapes, chosen = parse_shapes(shape), parse_precision(precision)
    tune_s = parse_optional(tune_kernels, SECONDS, "--tune-kernels")
    from hago.annotate.narrow import WeightFormat
    from hago.annotate.narrow_activations import ActivationFormat
    from hago.pipeline import DEFAULT_RECIPE, Options, compile_model
    from hago.search.cache import default_cache

    asked = DEFAULT_RECIPE if recipe is None else recipe
    weights = WeightFormat(weight_bits, weight_group, narrow_ends)
    activations = ActivationFormat(activation_bits, narrow_ends)
    options = Options(
        chosen, asked, shapes, threads, export_qdq, export_object, weights, compress, activations,
        None if no_kernel_cache else default_cache("kernels"), tune_s,
    )  # fmt: skip
    from hago.cli.progress import drawn_progress
    from hago.cli.render import print_json, terminal
    from hago.cli.show_compile import show_compile

    with drawn_progress() as progress:
        report = compile_model(model, hw, data, output, options, progress)
    if as_json:
        print_json(report.to_json())
    else:
        show_compile(terminal(), report)
