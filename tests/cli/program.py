"""Running hago as a user does: arguments in, exit code, stdout and stderr out."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import hago
from hago.cli.app import main
from tests.onnx_models import node, normal, save

MACHINE = "x86-avx2"  # the least that any computer that runs these tests has
ROOT = Path(hago.__file__).parents[1]


@dataclass(frozen=True)
class Outcome:
    """What one command did."""

    code: int
    out: str
    err: str


class Program:
    """hago in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Outcome:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        return Outcome(int(end.value.code or 0), captured.out, captured.err)


def start_program(
    *arguments: object, cwd: Path, environment: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    """hago in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "hago", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_program(*arguments: object, cwd: Path) -> Outcome:
    """hago in a process of its own, to its end."""
    process = start_program(*arguments, cwd=cwd)
    out, err = process.communicate(timeout=120)
    return Outcome(process.returncode, out, err)


def save_network(path: Path, channels: int = 8) -> Path:
    """conv, relu, global average pooling, linear: image [1, 3, 8, 8] to scores [1, 5]."""
    constants = {
        "w": normal(channels, 3, 3, 3) / 5,
        "b": normal(channels, seed=1),
        "fc": normal(channels, 5, seed=2) / 4,
        "fcb": normal(5, seed=3),
    }
    nodes = [
        node("Conv", "image w b", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("GlobalAveragePool", "r", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f fc fcb", "scores"),
    ]
    return save(path, nodes, {"image": (1, 3, 8, 8)}, constants, outputs="scores")


def save_data(path: Path, **arrays: np.ndarray) -> Path:
    """An .npz of these arrays; of calibration images where there are none."""
    np.savez(path, **(arrays or {"image": normal(4, 3, 8, 8, seed=4)}))
    return path


def parts_of(error: str) -> list[str]:
    """The lines of the one error on stderr, progress left out."""
    lines = [line for line in error.splitlines() if line.strip()]
    first = next(i for i, line in enumerate(lines) if "Error: " in line)
    return lines[first:]
