"""hago bench: how long an artifact takes."""

from __future__ import annotations

from typing import Annotated

import typer

from hago.cli.options import Artifact, AsJson, Threads


def bench(
    folder: Artifact,
    threads: Threads = 1,
    seconds: Annotated[float, typer.Option("--seconds", min=0.01, help="How long.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Time an artifact on random inputs: warm-up, median and spread."""
    from hago.cli.render import print_json, terminal
    from hago.deploy.bench import bench as bench_model
    from hago.deploy.load import load

    model = load(folder, threads)
    timing = bench_model(model, threads, seconds)
    if as_json:
        print_json(timing.to_json())
        return
    from hago.cli.show_timing import show_timing

    name = f"{model.manifest.model} ({model.manifest.precision}) on {model.manifest.machine.name}"
    show_timing(terminal(), name, timing)
