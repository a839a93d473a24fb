"""What this computer's CPU can do."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from hago.errors import SpecError
from hago.hardware.gpu import gpu_features
from hago.hardware.load import load_spec
from hago.hardware.permission import refused_features
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
    """Features that ``spec`` needs and this computer lacks, or Linux does not grant."""
    missing = set(spec.features) - cpu_features() - gpu_features()
    return tuple(sorted(missing)) or refused_features(spec.features)


def kernels_of(spec: HardwareSpec) -> HardwareSpec:
    """The machine whose kernels compute for ``spec``: itself, or this computer as its model."""
    return host_spec() if spec.is_model else spec


def runnable(spec: HardwareSpec) -> HardwareSpec:
    """The machine whose kernels run here in the place of ``spec``'s: the same where it can be."""
    kernels = kernels_of(spec)
    return host_spec() if kernels.is_gpu or missing_features(kernels) else kernels


# From the most to the least capable: the first that runs here is the host's.
_X86 = ("x86-amx", "x86-zen4", "x86-bf16", "x86-vnni", "x86-avx512", "x86-avx2")
_ARM = ("arm-i8mm", "arm-dotprod", "arm-neon")
_HOSTS = (*_X86, *_ARM)


@cache
def host_spec() -> HardwareSpec:
    """The best built-in machine that this CPU is. Raises SpecError where there is none."""
    for name in _HOSTS:
        spec = load_spec(name)
        if not missing_features(spec):
            return spec
    raise SpecError(
        "no built-in machine fits this CPU",
        fact=f"hago runs models on {', '.join(_HOSTS)}",
        source="hwspecs",
        way_out="Use a computer with at least AVX2, or an Arm of 64 bits, for calibration.",
    )
