"""What templates for NVIDIA GPUs may use."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hago.errors import SpecError
from hago.hardware.spec import HardwareSpec

_ARCHITECTURE = re.compile(r"sm_(\d+)")


@dataclass(frozen=True)
class Device:
    """A GPU of compute ``capability`` (80 is 8.0) with the ``instructions`` of its specification's
    rows, and ``shared_bytes`` of shared memory a multiprocessor."""

    capability: int
    instructions: frozenset[str]
    shared_bytes: int

    @property
    def float8(self) -> tuple[str, ...]:
        """The dtypes in memory of the 8-bit floats that it multiplies."""
        endings = {name.rpartition(".")[2] for name in self.instructions}
        return ("float8_e4m3fn",) if "e4m3" in endings else ()

    @property
    def copies_in_background(self) -> bool:
        """Whether it has cp.async (PTX ISA: sm_80 and later)."""
        return self.capability >= 80


def capability_of(spec: HardwareSpec) -> int:
    """The compute capability of a specification's target: 80 of "sm_80". Raises SpecError."""
    found = _ARCHITECTURE.fullmatch(str(spec.target.get("arch", "")))
    if found is None:
        raise SpecError(
            f"machine '{spec.name}': its target has no architecture",
            fact=f"arch is {spec.target.get('arch')!r}",
            way_out='Write target={"kind": "cuda", "arch": "sm_80"}.',
        )
    return int(found[1])


def device_of(spec: HardwareSpec) -> Device:
    """What templates may use on ``spec``, whose target is a GPU."""
    rows = frozenset(row.intrinsic for row in spec.ops if row.intrinsic)
    return Device(capability_of(spec), rows, spec.memory.l1)
