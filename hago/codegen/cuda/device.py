"""What templates for NVIDIA GPUs may use."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hago.errors import SpecError
from hago.hardware.spec import HardwareSpec

_ARCHITECTURE = re.compile(r"sm_(\d+)(a?)")


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
    def sums_float8_in_few_bits(self) -> bool:
        """Whether mma multiplies 8-bit floats as such, of whose sums tensor cores keep 13 bits
        behind the leading one (Khattak and Mikaitis, arXiv 2512.07004: Ada, and Hopper by wgmma);
        for sm_90 ptxas widens its operands to float16."""
        return self.capability == 89

    def has(self, kind: str, ending: str) -> bool:
        """Whether a row names an instruction "kind.shape.ending"."""
        return any(n.startswith(f"{kind}.") and n.endswith(ending) for n in self.instructions)

    @property
    def copies_in_background(self) -> bool:
        """Whether it has cp.async (PTX ISA: sm_80 and later)."""
        return self.capability >= 80


def architecture_of(spec: HardwareSpec) -> str:
    """What nvcc calls a specification's target: "80" of "sm_80", "90a" of "sm_90a". Raises
    SpecError."""
    found = _ARCHITECTURE.fullmatch(str(spec.target.get("arch", "")))
    if found is None:
        raise SpecError(
            f"machine '{spec.name}': its target has no architecture",
            fact=f"arch is {spec.target.get('arch')!r}",
            way_out='Write target={"kind": "cuda", "arch": "sm_80"}.',
        )
    return found[1] + found[2]


def device_of(spec: HardwareSpec) -> Device:
    """What templates may use on ``spec``, whose target is a GPU."""
    rows = frozenset(row.intrinsic for row in spec.ops if row.intrinsic)
    return Device(int(architecture_of(spec).rstrip("a")), rows, spec.memory.l1)
