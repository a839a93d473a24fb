"""hago's own artifacts, compiled for the task's machine: of one precision each, and of those that
`auto` measures to be fastest, part by part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hago.deploy.load import load
from hago.deploy.runtime import load_runtime
from hago.hardware.host import host_spec
from tests.bench.contestant import Entry, Name, Task


def _compile(precision: str) -> Callable[[Task], Path]:
    def prepare(task: Task) -> Path:
        from hago.pipeline import Options, compile_model  # with the compiler: not to load

        folder = task.folder / f"hago-{precision}"
        shapes = {name: value.shape for name, value in task.sample.items()}
        options = Options(precision=precision, shapes=shapes, threads=task.threads)
        machine = task.machine or host_spec().name
        compile_model(task.path, machine, list(task.calibration), folder, options)
        return folder

    return prepare


def _load(task: Task, folder: Path) -> Callable[[], object]:
    model = load(folder, threads=task.threads)
    return lambda: model.run(task.sample)


ENTRIES = tuple(
    Entry(Name("hago", precision), "tvm", load_runtime, _compile(precision), _load)
    for precision in ("float32", "bfloat16", "int8", "auto")
)
