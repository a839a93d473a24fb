"""manifest.json: what an artifact is, needs and was measured to do."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hago.errors import BuildError
from hago.report import EdgeReport, Json, float_edges
from hago.sample import TensorSpec

FORMAT = 3


@dataclass(frozen=True)
class Machine:
    """The machine an artifact was built for.

    ``features`` are in /proc/cpuinfo's words, ``architecture`` in those of ``uname -m``;
    ``digest`` is that of the hardware specification. Where the artifact is an executable model of
    the machine, ``model_on`` is the name of the one whose kernels run it.
    """

    name: str
    digest: str
    features: tuple[str, ...] = ()
    architecture: str = field(default_factory=platform.machine)
    model_on: str = ""


@dataclass(frozen=True)
class Manifest:
    """The contents of manifest.json.

    ``edges`` is the strategy: each edge with its scheme, numbers and reason, those that stayed
    float included. ``accuracy`` and ``latency_ms`` are as measured when the artifact was built.
    ``recipe`` is what ``RecipeReport.to_json`` gives: the methods with their options, and why.
    ``constants`` are bytes of weights, scales, biases and tables: "stored" in the library, and what
    they take in the "float32" model.
    ``library_sha256`` and ``library_crc32`` are those of the library's file, filled when it is
    written. Loading checks the second, which finds damage; the first is for ``sha256sum``, where a
    manifest is trusted more than the file beside it.
    """

    model: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    machine: Machine
    edges: tuple[EdgeReport, ...] = ()
    accuracy: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    recipe: Mapping[str, Json] = field(default_factory=dict)
    constants: Mapping[str, int] = field(default_factory=dict)
    library_sha256: str = ""
    library_crc32: int = 0

    def __post_init__(self) -> None:
        if not self.inputs or not self.outputs:
            raise ValueError("a model has at least one input and one output")

    def to_text(self) -> str:
        """The JSON text, with the edges that are not quantized listed once more by themselves."""
        fields = {"format": FORMAT, **asdict(self), **float_edges(self.edges)}
        return json.dumps(fields, indent=1) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact folder. Raises BuildError where it is missing or damaged."""
    path = folder / "manifest.json"
    if not path.is_file():
        best = folder / "best"  # of a session of 'hago tune'
        raise BuildError(
            f"{folder}: not an artifact",
            fact="it has no manifest.json" if folder.is_dir() else "no such folder",
            way_out=f"Give {best}: that is one."
            if (best / path.name).is_file()
            else "Give the folder that 'hago compile -o' wrote.",
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        found = fields["format"]
        manifest = _from_json(fields) if found == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(
            f"{path}: damaged",
            fact=f"{type(error).__name__}: {error}",
            way_out="Compile the model again.",
        ) from error
    if manifest is None:
        raise BuildError(
            f"{path}: format {found!r}",
            fact=f"this hago reads format {FORMAT}",
            way_out="Compile the model again with this version.",
        )
    return manifest


def _from_json(fields: dict[str, Any]) -> Manifest:
    return Manifest(
        model=_text(fields["model"]),
        precision=_text(fields["precision"]),
        inputs=tuple(map(_tensor, fields["inputs"])),
        outputs=tuple(map(_tensor, fields["outputs"])),
        machine=_machine(fields["machine"]),
        edges=tuple(map(_edge, fields["edges"])),
        accuracy={_text(k): float(v) for k, v in fields["accuracy"].items()},
        latency_ms={_text(k): float(v) for k, v in fields["latency_ms"].items()},
        versions={_text(k): _text(v) for k, v in fields["versions"].items()},
        recipe={_text(k): v for k, v in fields.get("recipe", {}).items()},
        constants={_text(k): int(v) for k, v in fields.get("constants", {}).items()},
        library_sha256=_text(fields["library_sha256"]),
        library_crc32=int(fields["library_crc32"]),
    )


def _tensor(fields: dict[str, Any]) -> TensorSpec:
    shape = tuple(int(extent) for extent in fields["shape"])
    return TensorSpec(_text(fields["name"]), shape, _text(fields["dtype"]))


def _machine(fields: dict[str, Any]) -> Machine:
    features = tuple(map(_text, fields["features"]))
    architecture = _text(fields["architecture"])
    model_on = _text(fields.get("model_on", ""))
    return Machine(
        _text(fields["name"]), _text(fields["digest"]), features, architecture, model_on
    )


def _edge(fields: dict[str, Any]) -> EdgeReport:
    tuples = {name: _pair(fields[name]) for name in ("choices", "scale", "zero_point")}
    return EdgeReport(**{**fields, **tuples})


def _pair(value: list[Any] | None) -> tuple[Any, ...] | None:
    return None if value is None else tuple(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"text was expected, not {value!r}")
    return value
