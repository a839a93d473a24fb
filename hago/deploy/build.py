"""A lowered module becomes a shared library inside an artifact folder."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from tvm import ir

import hago
from hago.codegen.cuda.nvcc import require_nvcc
from hago.deploy.artifact import write_artifact
from hago.deploy.device_code import export_for_gpu
from hago.deploy.manifest import Machine, Manifest
from hago.hardware.host import kernels_of
from hago.hardware.load import spec_digest
from hago.hardware.spec import HardwareSpec
from hago.lower.build import build
from hago.lower.linker import linker_for


def build_artifact(
    lowered: ir.IRModule,
    spec: HardwareSpec,
    manifest: Manifest,
    folder: Path,
    *,
    compressed: bool = False,
) -> Path:
    """Compiles ``lowered`` for ``spec`` and writes the artifact; the folder's path.

    Raises BuildError where the folder cannot be written, or no linker (for GPUs, no nvcc) is found.
    """
    return write_artifact(
        folder, lambda path: build_library(lowered, spec, path), manifest, compressed=compressed
    )


def check_tools(spec: HardwareSpec) -> None:
    """Raises BuildError where a compiler for ``spec`` is missing; call it before the long work."""
    if spec.is_gpu:
        require_nvcc()


def build_library(lowered: ir.IRModule, spec: HardwareSpec, path: Path) -> None:
    """Compiles ``lowered`` for ``spec`` into the shared library ``path``."""
    if spec.is_gpu:
        export_for_gpu(lambda: build(lowered, spec), spec, path, linker_for(spec.triple))
        return
    build(lowered, spec).export_library(str(path), fcompile=linker_for(spec.triple))


def machine_for(spec: HardwareSpec) -> Machine:
    """What the manifest says of the machine that an artifact is built for."""
    kernels = kernels_of(spec)
    model_on = kernels.name if spec.is_model else ""
    digest = spec_digest(spec)
    return Machine(spec.name, digest, kernels.features, kernels.architecture, model_on)


def versions() -> dict[str, str]:
    """Versions of what an artifact's contents depend on."""
    others = ("apache-tvm", "apache-tvm-ffi", "numpy")
    return {"hago": hago.__version__, **{name: version(name) for name in others}}
