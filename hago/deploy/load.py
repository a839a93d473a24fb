"""An artifact folder as a Python callable on numpy arrays."""

from __future__ import annotations

import tempfile
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hago.deploy.artifact import COMPRESSED, LIBRARY, checksum, inflate, library_of
from hago.deploy.cpu import check_cpu
from hago.deploy.manifest import Manifest, read_manifest
from hago.deploy.memory import GpuMemory, HostMemory, Memory
from hago.deploy.runtime import load_gpu_runtime, load_runtime, set_threads
from hago.errors import BuildError, DataError
from hago.hardware.gpu import gpu_features, is_gpu_feature
from hago.hardware.host import cpu_features
from hago.hardware.permission import request_permissions
from hago.sample import Sample, TensorSpec, check_names, fit_array
from hago.scheme import Array


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded artifact. Calls from several threads take turns."""

    manifest: Manifest
    _main: Callable[..., Any]
    _memory: Memory
    _library: Any
    _machine: Any  # it and the library must outlive their functions
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.manifest.outputs

    def kernel(self, name: str) -> Callable[..., Any]:
        """The function ``name`` of the library."""
        found: Callable[..., Any] = self._library.get_function(name, query_imports=True)
        return found

    def run(self, sample: Sample) -> dict[str, Array]:
        """The outputs by name, for the inputs by name.

        Raises DataError for a missing or unknown input, a wrong shape or dtype, BuildError where
        the library is not what the manifest says.
        """
        check_names(sample, self.inputs, "the model's inputs")
        arrays = [fit_array(sample[spec.name], spec, "the call") for spec in self.inputs]
        try:
            results = self._invoke(arrays)
        except (RuntimeError, ValueError, TypeError) as error:
            raise self._unlike_manifest(str(error).strip().splitlines()[0]) from error
        if len(results) != len(self.outputs):
            raise self._unlike_manifest(f"it gave {len(results)} results")
        return {spec.name: result for spec, result in zip(self.outputs, results, strict=True)}

    def __call__(self, *args: object, **named: object) -> Array | tuple[Array, ...]:
        """The output, or the tuple of outputs, for inputs by position or by name."""
        if len(args) > len(self.inputs):
            taken = ", ".join(map(str, self.inputs))
            raise DataError(f"{len(args)} inputs were given", fact=f"the model takes {taken}")
        sample: dict[str, Any] = dict(named)
        for spec, value in zip(self.inputs, args, strict=False):
            if spec.name in sample:
                raise DataError(f"input '{spec.name}': given by position and by name")
            sample[spec.name] = value
        results = tuple(self.run(sample).values())
        return results[0] if len(results) == 1 else results

    def _unlike_manifest(self, fact: str) -> BuildError:
        taken = ", ".join(map(str, (*self.inputs, *self.outputs)))
        return BuildError(
            f"the library of '{self.manifest.model}' does not run as its manifest says",
            fact=f"{fact}  (the manifest has {taken})",
            way_out="Compile the model again.",
        )

    def _invoke(self, arrays: list[Array]) -> list[Array]:
        tensors = [self._memory.enter(array) for array in arrays]
        with self._lock:
            result = self._main(*tensors)
        is_one = isinstance(result, load_runtime().Tensor)
        return self._memory.leave([result] if is_one else list(result))


def load(folder: str | Path, threads: int = 1) -> Model:
    """The model of the artifact in ``folder``, whose kernels use ``threads`` threads.

    Raises BuildError where the folder is no artifact, is damaged, or was built for a CPU (or a GPU)
    with features that this one lacks or does not grant.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_cpu(manifest.machine, str(folder), cpu_features() | gpu_features())
    request_permissions(manifest.machine.features, str(folder))
    library = library_of(folder)
    _check_library(library, manifest)
    set_threads(threads)
    is_gpu = any(map(is_gpu_feature, manifest.machine.features))
    memory = GpuMemory(load_gpu_runtime()) if is_gpu else HostMemory(load_runtime())
    executable, machine = _start(library, memory)
    return Model(manifest, machine["main"], memory, executable, machine)


def _check_library(library: Path, manifest: Manifest) -> None:
    try:
        found = checksum(library)
    except OSError as error:
        raise _damaged(library, str(error)) from error
    if found != manifest.library_crc32:
        raise _damaged(library, "it is not the library that the manifest describes (CRC-32)")


def _start(library: Path, memory: Memory) -> tuple[Any, Any]:
    """The library and a virtual machine of it on the device of ``memory``."""
    try:
        executable = _load_module(memory.ffi, library)
        machine = executable["vm_load_executable"]()
        machine["vm_initialization"](*memory.devices)
    except (RuntimeError, ValueError, AttributeError, OSError, EOFError, zlib.error) as error:
        raise _damaged(library, str(error)) from error
    return executable, machine


def _load_module(ffi: Any, library: Path) -> Any:
    """The library under a path that was never loaded before.

    ``dlopen`` takes a path that it knows for the library that it has, even where another file
    lies there by now: an artifact that was compiled anew into its folder.
    """
    with tempfile.TemporaryDirectory(prefix="hago-") as scratch:
        path = Path(scratch) / LIBRARY
        if library.name == COMPRESSED:
            inflate(library, path)
        else:
            path.symlink_to(library.resolve())
        return ffi.load_module(str(path))


def _damaged(library: Path, fact: str) -> BuildError:
    return BuildError(f"{library}: damaged", fact=fact, way_out="Compile the model again.")
