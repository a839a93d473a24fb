"""Whether this CPU has what an artifact needs: asked before any of its code runs."""

from __future__ import annotations

import platform
from collections.abc import Set as AbstractSet

from hago.deploy.manifest import Machine
from hago.errors import BuildError
from hago.hardware.gpu import is_gpu_feature


def check_cpu(machine: Machine, where: str, present: AbstractSet[str]) -> None:
    """Raises BuildError unless this is the architecture of ``machine``, and every feature of it
    is ``present``."""
    if machine.architecture != platform.machine():
        raise BuildError(
            f"{where}: built for '{machine.name}', which this CPU is not",
            fact=f"the library is code for {machine.architecture}, this is {platform.machine()}",
            source=f"{where}/manifest.json",
            way_out=_elsewhere(machine.architecture),
        )
    missing = [feature for feature in machine.features if feature not in present]
    if any(map(is_gpu_feature, missing)):
        raise BuildError(
            f"{where}: built for '{machine.name}', which is not here",
            fact=f"no NVIDIA GPU that runs code for {' and '.join(missing)}, or no driver",
            source="libcuda.so.1",
            way_out="Copy the folder to a computer with such a GPU.",
        )
    if missing:
        raise BuildError(
            f"{where}: built for '{machine.name}', which this CPU is not",
            fact=f"the CPU lacks {', '.join(missing)}",
            source="/proc/cpuinfo",
            way_out="Compile the model for this machine: see 'hago spec list'.",
        )


def _elsewhere(architecture: str) -> str:
    """How a library of another architecture is run."""
    return (
        f"Copy the folder to such a computer and run it there with 'hago run', or with hago-run "
        f"(CMakeLists.txt) built for {architecture}. QEMU runs that one here: qemu-{architecture} "
        f"-cpu max -L /usr/{architecture}-linux-gnu hago-run FOLDER ..."
    )
