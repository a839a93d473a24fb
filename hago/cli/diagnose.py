"""hago diagnose: where a quantized model loses accuracy, edge by edge, and what would mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hago.cli.options import AsJson, Hardware, Model
from hago.cli.quantization import Quantization, takes_quantization


@takes_quantization
def diagnose(
    model: Model,
    hw: Hardware,
    data: Annotated[
        Path, typer.Option("--data", metavar="FILE", help="An .npz or a folder of .npy, by input.")
    ],
    *,
    quantization: Quantization,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Of the data to judge on; all calibrate.")
    ] = 8,
    worst: Annotated[int, typer.Option("--worst", min=1, help="How many edges to show.")] = 8,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="All of it as one page, with plots."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell where MODEL loses accuracy when it is quantized, edge by edge, and what would mend it.

    Every rounding is simulated alone, and together with all before it; nothing is compiled for the
    machine.
    """
    shapes = quantization.shapes
    from hago.diagnose import Question
    from hago.diagnose import diagnose as find
    from hago.diagnose.page import check_page, write_page

    question = Question(
        model, hw, data, quantization.methods, shapes, quantization.weights, samples,
        quantization.activations,
    )  # fmt: skip
    if html is not None:
        check_page(html)
    from hago.cli.progress import drawn_progress
    from hago.cli.render import print_json, terminal
    from hago.cli.show_diagnose import show_diagnosis

    with drawn_progress() as progress:
        diagnosis = find(question, progress)
        if html is not None:
            with progress.stage("draw page"):
                write_page(diagnosis, html)
    if as_json:
        print_json(diagnosis.to_json())
    else:
        show_diagnosis(terminal(), diagnosis, worst, html)
