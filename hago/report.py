"""What hago tells about its work: frozen reports with a JSON form."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The source of the reason for edges inside a kernel, which are float32 but never in memory.
FUSED = "rule: epilogue"

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True)
class EdgeReport:
    """One edge of the prepared graph: what it may be, what it is, and who decided that.

    ``chosen`` and ``choices`` are schemes as text, the preferred first; ``chosen`` is ``"float32"``
    where the edge stays float. ``source`` is the row of a spec file or the rule behind ``reason``.
    ``scale`` and ``zero_point`` are the smallest and largest over the channels. ``kernel`` is the
    name of the kernel that reads the edge.
    """

    edge: str
    chosen: str
    choices: tuple[str, ...] = ()
    reason: str = ""
    source: str = ""
    scale: tuple[float, float] | None = None
    zero_point: tuple[int, int] | None = None
    kernel: str = ""

    @property
    def is_float(self) -> bool:
        return self.chosen == "float32"

    @property
    def is_fused(self) -> bool:
        """True for an edge between two operations of one kernel: it costs no memory traffic."""
        return self.source == FUSED

    def to_json(self) -> dict[str, Json]:
        return plain_dataclass(self)


@dataclass(frozen=True)
class InspectReport:
    """Every edge of a model on a machine, before anything is measured."""

    model: str
    hardware: str
    edges: tuple[EdgeReport, ...]

    def to_json(self) -> dict[str, Json]:
        return plain_dataclass(self)


@dataclass(frozen=True)
class Contestant:
    """One form of a model: latency in ms (median; None where it cannot run here), size in bytes."""

    name: str
    latency_ms: float | None
    size_bytes: int
    accuracy: float | None = None

    def to_json(self) -> dict[str, Json]:
        return plain_dataclass(self)


@dataclass(frozen=True)
class MethodReport:
    """A method that was applied, with all of its options, and why."""

    name: str
    options: Mapping[str, Json]
    reason: str

    @property
    def text(self) -> str:
        """As a recipe writes it."""
        given = ",".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.name}({given})" if given else self.name


@dataclass(frozen=True)
class LeftOutReport:
    """A method of a named recipe that the model did not ask for; ``reason`` is when it would."""

    name: str
    reason: str


@dataclass(frozen=True)
class RecipeReport:
    """What a recipe came to: ``asked`` is its text, ``facts`` what was seen of the model."""

    asked: str
    facts: str
    methods: tuple[MethodReport, ...]
    left_out: tuple[LeftOutReport, ...] = ()

    def to_json(self) -> dict[str, Json]:
        return plain_dataclass(self)


@dataclass(frozen=True)
class KernelReport:
    """A kernel that was raced: in microseconds what it takes as its template builds it and by the
    best ``schedule``. It is called ``calls`` times, ``share`` of all kernels' time. ``error`` says
    why a race failed; there are no times then."""

    kernel: str
    calls: int
    share: float
    default_us: float | None = None
    best_us: float | None = None
    schedule: str = ""
    is_from_cache: bool = False
    error: str = ""


@dataclass(frozen=True)
class TuningReport:
    """The races of ``--tune-kernels``. ``ratio`` is the network's time with the winners to that
    without, None where they are the templates' own choices; they are built in where
    ``is_taken``."""

    kernels: tuple[KernelReport, ...]
    ratio: float | None = None
    is_taken: bool = True


@dataclass(frozen=True)
class CompileReport:
    """What ``hago compile`` made, and whether it was worth it.

    ``baseline`` is hago's own float32 of the same model on the same machine, None where that is
    what was ``compiled``; ``slower`` are the other precisions that were built and not taken.
    ``accuracy`` holds the agreement with float that was measured on the calibration data, by name
    of the measure. ``seconds`` is the time of each stage. ``recipe`` says which methods chose the
    numbers; None where there were none to choose. ``constants`` are bytes of weights, scales,
    biases and tables: "stored" in the artifact, and in the "float32" model. ``model_on`` is the
    machine whose kernels run the artifact, where that is an executable model of ``hardware``.
    ``tuning`` is None without ``--tune-kernels``; ``cached_kernels`` are built as the kernel cache
    says.
    """

    output: Path
    model: str
    hardware: str
    precision: str
    edges: tuple[EdgeReport, ...]
    compiled: Contestant
    baseline: Contestant | None = None
    slower: tuple[Contestant, ...] = ()
    accuracy: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    recipe: RecipeReport | None = None
    constants: Mapping[str, int] = field(default_factory=dict)
    model_on: str = ""
    tuning: TuningReport | None = None
    cached_kernels: int = 0

    @property
    def stayed_float(self) -> tuple[EdgeReport, ...]:
        """The edges that are float32 in memory."""
        return tuple(edge for edge in self.edges if edge.is_float and not edge.is_fused)

    @property
    def in_registers(self) -> tuple[str, ...]:
        """The edges that never leave a kernel: float32, and in no memory."""
        return tuple(edge.edge for edge in self.edges if edge.is_fused)

    def to_json(self) -> dict[str, Json]:
        return {**plain_dataclass(self), **float_edges(self.edges)}


@dataclass(frozen=True)
class DemoReport:
    """The demo's table: float and quantized side by side on a labelled test set of ``images``."""

    hardware: str
    images: int
    contestants: tuple[Contestant, ...]
    edges: int
    stayed_float: tuple[EdgeReport, ...]
    in_registers: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        return plain_dataclass(self)


def float_edges(edges: Iterable[EdgeReport]) -> dict[str, Json]:
    """What is not quantized: what stayed float32, and the names of what is in registers alone."""
    known = tuple(edges)
    return {
        "stayed_float": [e.to_json() for e in known if e.is_float and not e.is_fused],
        "in_registers": [e.edge for e in known if e.is_fused],
    }


def plain_dataclass(value: object) -> dict[str, Json]:
    """A dataclass as what ``json.dump`` takes: tuples as lists, paths as text."""
    assert dataclasses.is_dataclass(value)
    assert not isinstance(value, type)
    return {f.name: _jsonable(getattr(value, f.name)) for f in dataclasses.fields(value)}


def _jsonable(value: object) -> Json:
    if dataclasses.is_dataclass(value):
        return plain_dataclass(value)
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    assert value is None or isinstance(value, bool | int | float | str), value
    return value
