"""Whether this CPU has what an artifact needs: asked before any of its code runs."""

from __future__ import annotations

from pathlib import Path

from hago.deploy.manifest import Machine
from hago.errors import BuildError

CPUINFO = Path("/proc/cpuinfo")


def cpu_features(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """The features of the first CPU in Linux's words; empty where the system does not say."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):  # x86, ARM
            return frozenset(value.split())
    return frozenset()


def check_cpu(machine: Machine, where: str, present: frozenset[str]) -> None:
    """Raises BuildError unless every feature of ``machine`` is ``present``."""
    missing = [feature for feature in machine.features if feature not in present]
    if missing:
        raise BuildError(
            f"{where}: built for '{machine.name}', which this CPU is not",
            fact=f"the CPU lacks {', '.join(missing)}",
            source=str(CPUINFO),
            way_out="Compile the model for this machine: see 'hago spec list'.",
        )
