"""What this computer's CPU can do."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hago.hardware.spec import HardwareSpec

_FIELDS = ("flags", "Features")  # x86 and Arm spell it differently


@cache
def cpu_features() -> frozenset[str]:
    """Feature words of /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        field, _, words = line.partition(":")
        if field.strip() in _FIELDS:
            return frozenset(words.split())
    return frozenset()


def missing_features(spec: HardwareSpec) -> tuple[str, ...]:
    """Features that ``spec`` needs and this CPU lacks."""
    return tuple(sorted(set(spec.features) - cpu_features()))
