"""What takes part in a comparison: something loaded that can be called, or the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hago.sample import Sample


@dataclass(frozen=True)
class Name:
    """Who ran what: ``runtime`` (``hago``, ``onnxruntime``, ``openvino``), ``precision`` as the
    numbers that weights and activations are stored in, ``variant`` where a precision has several.
    """

    runtime: str
    precision: str
    variant: str = ""

    def __str__(self) -> str:
        variant = f" ({self.variant})" if self.variant else ""
        return f"{self.runtime} {self.precision}{variant}"


@dataclass(frozen=True)
class Alone:
    """From files on disk to the first result, in a process that has imported the runtime.

    ``load_ms`` on the clock, ``load_cpu_ms`` of all threads, medians of a few. Bytes that the
    process grew by: ``private`` after the first result, ``peak_private`` at most until then.
    """

    load_ms: float
    load_cpu_ms: float
    private: int
    peak_private: int


@dataclass(frozen=True, eq=False)
class Contestant:
    """A loaded model: ``run()`` is one inference of the sample it was made with. ``alone`` is what
    loading it took in a process of its own."""

    name: Name
    run: Callable[[], object]
    alone: Alone


@dataclass(frozen=True)
class Absent:
    """A contestant that could not take part, and why."""

    name: Name
    reason: str


@dataclass(frozen=True, eq=False)
class Task:
    """What every contestant gets: an ONNX file, inputs by name, samples to calibrate with.

    ``folder`` keeps what is made from the model between runs; ``machine`` is the name of a
    hardware specification (None: this computer's best).
    """

    model: str
    path: Path
    sample: Sample = field(repr=False)
    calibration: Sequence[Sample] = field(repr=False)
    folder: Path
    threads: int
    machine: str | None


@dataclass(frozen=True)
class Entry:
    """A row of the table of contestants.

    ``package`` must be installed for it; ``start()`` imports the runtime; ``prepare(task)`` makes
    what ``load`` needs (not timed: quantization, compilation), ``load(task, prepared)`` gives the
    callable.
    """

    name: Name
    package: str
    start: Callable[[], object]
    prepare: Callable[[Task], Path]
    load: Callable[[Task, Path], Callable[[], object]]
