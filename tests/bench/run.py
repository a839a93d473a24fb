"""The comparison of the command line: model after model, then tables and a picture."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from hago.hardware.host import host_spec
from hago.report import Json
from tests.bench import hago_entries, onnxruntime_entries, openvino_entries
from tests.bench.compare import Comparison, compare
from tests.bench.contestant import Entry, Task
from tests.bench.document import Setting, cpu_name, to_document
from tests.bench.inputs import draw_sample
from tests.bench.plot import plot
from tests.bench.tables import show
from tests.zoo.models import MODELS, model_file
from tests.zoo.packages import MissingPackage

ENTRIES: tuple[Entry, ...] = (
    *hago_entries.ENTRIES,
    *onnxruntime_entries.ENTRIES,
    *openvino_entries.ENTRIES,
)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def bench_models(arguments: Namespace, console: Console) -> dict[str, Json]:
    """All models; tables go to ``console``, the document is returned."""
    comparisons = list(_comparisons(arguments, console))
    show(console, comparisons)
    if arguments.plot:
        arguments.plot.parent.mkdir(parents=True, exist_ok=True)
        plot(comparisons, arguments.plot)
    machine = arguments.hw or host_spec().name
    cores = tuple(arguments.cores)
    setting = Setting(
        machine, arguments.threads, cores, cpu_name(), arguments.clock, arguments.restricted
    )
    return to_document(setting, comparisons)


def _comparisons(arguments: Namespace, console: Console) -> Iterator[Comparison]:
    wanted = arguments.only or {entry.name.runtime for entry in ENTRIES}
    entries = [entry for entry in ENTRIES if entry.name.runtime in wanted]
    for name in arguments.models:
        try:
            task = make_task(name, arguments)
        except MissingPackage as error:
            console.print(f"[bold red]ABSENT[/]  {name}: {error}", highlight=False)
            continue
        console.print(f"{name}: preparing {len(entries)} contestants", style="dim")
        yield compare(task, entries, arguments.seconds, CLOCKS[arguments.clock])


def make_task(name: str, arguments: Namespace) -> Task:
    """The inputs and folders of one zoo model. Raises MissingPackage where it cannot be built."""
    shapes = MODELS[name].inputs
    folder: Path = arguments.cache / name
    folder.mkdir(parents=True, exist_ok=True)
    return Task(
        model=name,
        path=model_file(name),
        sample=draw_sample(shapes, seed=0),
        calibration=[draw_sample(shapes, seed) for seed in range(1, arguments.samples + 1)],
        folder=folder,
        threads=arguments.threads,
        machine=arguments.hw,
    )
