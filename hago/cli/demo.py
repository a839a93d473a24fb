"""hago demo: the main job on a real network that ships with hago."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hago.cli.options import AsJson
from hago.progress import SILENT, Progress
from hago.report import Contestant, DemoReport
from hago.scheme import Floats


def demo(
    hw: Annotated[
        str | None, typer.Option("--hw", metavar="NAME|FILE", help="Default: this computer.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Quantize and compile a small network for handwritten digits, and compare it with float."""
    from hago.cli.progress import drawn_progress
    from hago.cli.render import print_json, terminal
    from hago.cli.show_compile import show_demo

    with drawn_progress() as progress:
        report = run_demo(hw, progress)
    if as_json:
        print_json(report.to_json())
    else:
        show_demo(terminal(), report)


def run_demo(hardware: str | None = None, progress: Progress = SILENT) -> DemoReport:
    """The digits compiled in float32 and in the best low precision, on labelled test images.

    ``hardware`` is the host's best built-in machine where it is None.
    """
    from hago.demo import digits_calibration, digits_model, digits_test
    from hago.hardware.host import host_spec
    from hago.pipeline import Options, compile_model

    hardware = hardware or host_spec().name
    images, labels = digits_test()
    contestants: list[Contestant] = []
    with tempfile.TemporaryDirectory(prefix="hago-demo-") as scratch:
        for precision in ("float32", "auto"):
            folder = Path(scratch) / precision
            options = Options(precision=precision)
            report = compile_model(
                digits_model(), hardware, digits_calibration(), folder, options, progress
            )
            contestants.append(_contestant(report.compiled, folder, images, labels, progress))
    if report.baseline is not None:  # timed in turns with the other, which compares better
        contestants[0] = replace(contestants[0], latency_ms=report.baseline.latency_ms)
    return DemoReport(
        hardware=report.hardware,
        images=len(labels),
        contestants=tuple(contestants),
        edges=len(report.edges),
        stayed_float=report.stayed_float,
        in_registers=report.in_registers,
    )


def _contestant(
    measured: Contestant, folder: Path, images: Floats, labels: Sequence[int], progress: Progress
) -> Contestant:
    """``measured`` with the share of ``images`` whose highest score is their label."""
    from hago.deploy.load import load

    model = load(folder)
    name, right = model.inputs[0].name, 0
    pairs = zip(images, labels, strict=True)
    for image, label in progress.track(pairs, f"test {measured.name}", len(labels)):
        (scores,) = model.run({name: image[None]}).values()
        right += int(scores.argmax()) == int(label)
    return replace(measured, accuracy=right / len(labels))
