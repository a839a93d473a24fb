"""What measurements are about: digests of files, of samples, of this computer, of the code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np

import hago
from hago.scheme import Array

# What a latency depends on: the parts that make code.
_CODE = ("realize", "lower", "codegen")
_LENGTH = 16


def file_digest(path: Path) -> str:
    """The start of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:_LENGTH]


def samples_digest(samples: Sequence[Mapping[str, Array]]) -> str:
    """What tells these samples from others."""
    digest = hashlib.sha256()
    for sample in samples:
        for name in sorted(sample):
            value = np.ascontiguousarray(sample[name])
            digest.update(f"{name}{value.shape}{value.dtype}".encode())
            digest.update(value.tobytes())
    return digest.hexdigest()[:_LENGTH]


@cache
def code_digest() -> str:
    """Of all files that decide what code is generated, and of TVM's version."""
    digest = hashlib.sha256(version("apache-tvm").encode())
    root = Path(hago.__file__).parent
    for part in _CODE:
        for path in sorted((root / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:_LENGTH]


@cache
def cpu_name() -> str:
    """The model name in /proc/cpuinfo, or nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")
