"""Whether this CPU has what an artifact needs: asked before any of its code runs."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from hago.deploy.manifest import Machine
from hago.errors import BuildError


def check_cpu(machine: Machine, where: str, present: AbstractSet[str]) -> None:
    """Raises BuildError unless every feature of ``machine`` is ``present``."""
    missing = [feature for feature in machine.features if feature not in present]
    if missing:
        raise BuildError(
            f"{where}: built for '{machine.name}', which this CPU is not",
            fact=f"the CPU lacks {', '.join(missing)}",
            source="/proc/cpuinfo",
            way_out="Compile the model for this machine: see 'hago spec list'.",
        )
