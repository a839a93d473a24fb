"""The result as JSON: what was measured, on what, with what."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hago.report import Json
from tests.bench.compare import Comparison, Row, ratios

FORMAT = 1
_PACKAGES = ("apache-tvm", "numpy", "onnxruntime", "openvino", "nncf")


@dataclass(frozen=True)
class Setting:
    """Under what conditions a run was made; ``machine`` is the hardware specification's name,
    ``clock`` "wall" or "cpu" (the process's CPU time); ``restricted`` are the peers that have no
    other instructions than the machine."""

    machine: str
    threads: int
    cores: tuple[int, ...]
    cpu: str
    clock: str = "wall"
    restricted: tuple[str, ...] = ()


def cpu_name() -> str:
    """The CPU's name, family, model and stepping as /proc/cpuinfo gives them."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    numbers = "/".join(fields.get(key, "?") for key in ("cpu family", "model", "stepping"))
    return f"{fields.get('model name', 'unknown CPU')} (family/model/stepping {numbers})"


def versions() -> dict[str, Json]:
    """Versions of what takes part; None for what is not installed."""
    return {"hago": _hago(), **{package: _version(package) for package in _PACKAGES}}


def _hago() -> str:
    import hago

    return hago.__version__


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def to_document(setting: Setting, comparisons: Sequence[Comparison]) -> dict[str, Json]:
    """The whole run."""
    return {
        "format": FORMAT,
        "machine": setting.machine,
        "cpu": setting.cpu,
        "cores": list(setting.cores),
        "threads": setting.threads,
        "clock": setting.clock,
        "restricted": list(setting.restricted),
        "load_average": os.getloadavg()[0],
        "versions": versions(),
        "models": [_model(comparison) for comparison in comparisons],
    }


def _model(comparison: Comparison) -> dict[str, Json]:
    return {
        "name": comparison.model,
        "ratios": {name: value for name, value in ratios(comparison).items()},
        "contestants": [_row(row) for row in comparison.rows],
        "absent": [{**asdict(one.name), "reason": one.reason} for one in comparison.absent],
    }


def _row(row: Row) -> dict[str, Json]:
    return {**asdict(row.name), **asdict(row.spread), **asdict(row.alone)}
