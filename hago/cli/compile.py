"""hago compile: a model file becomes an artifact folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hago.cli.options import (
    AsJson,
    Compress,
    ExportObject,
    ExportQdq,
    Hardware,
    Model,
    NoKernelCache,
    Threads,
    TuneKernels,
    parse_precision,
)
from hago.cli.quantities import SECONDS, parse_optional
from hago.cli.quantization import Quantization, takes_quantization


@takes_quantization
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
    *,
    quantization: Quantization,
    threads: Threads = 1,
    export_qdq: ExportQdq = None,
    export_object: ExportObject = None,
    compress: Compress = False,
    tune_kernels: TuneKernels = None,
    no_kernel_cache: NoKernelCache = False,
    as_json: AsJson = False,
) -> None:
    """Quantize MODEL for a machine, compile it, measure it."""
    shapes, chosen = quantization.shapes, parse_precision(precision)
    tune_s = parse_optional(tune_kernels, SECONDS, "--tune-kernels")
    from hago.pipeline import Options, compile_model
    from hago.search.cache import default_cache

    options = Options(
        chosen, quantization.methods, shapes, threads, export_qdq, export_object,
        quantization.weights, compress, quantization.activations,
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
