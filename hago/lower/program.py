"""``main`` of a lowered module and the object files of its kernels, to be linked."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tvm
from tvm import runtime

from hago.lower.constants_object import ConstantsObject
from hago.lower.linker import link_shared
from hago.lower.objects import write_objects


class Program(runtime.Executable):  # type: ignore[misc]  # TVM has no types
    """What ``relax.build`` returns, with ``objects`` that ``main`` calls.

    ``main`` as machine code is linked with them and ``constants``. Where it is interpreted it has
    its own constants, and finds the objects in a library of their own.
    """

    def __init__(
        self, main: runtime.Module, objects: Sequence[bytes], constants: ConstantsObject | None
    ) -> None:
        super().__init__(main)
        self._objects, self._constants = tuple(objects), constants
        self._jitted_mod: runtime.Module | None = None

    def export_library(
        self,
        file_name: str,
        *,
        fcompile: Callable[..., None] = link_shared,
        addons: Sequence[str] = (),
        **options: Any,
    ) -> None:
        """Writes the shared library ``file_name`` of all."""
        with tempfile.TemporaryDirectory(prefix="hago-") as scratch:
            files = [*self._written(Path(scratch)), *addons]
            pack = _packed if _llvm_target(self.mod) else None
            super().export_library(
                file_name, fcompile=fcompile, addons=files, fpack_imports=pack, **options
            )

    def jit(self, **_options: Any) -> runtime.Module:
        """The module that a virtual machine of this process runs."""
        if self._jitted_mod is None:
            with tempfile.TemporaryDirectory(prefix="hago-") as scratch:
                self._jitted_mod = self._loaded(Path(scratch))
        return self._jitted_mod

    def _loaded(self, folder: Path) -> runtime.Module:
        library = str(folder / "kernels.so")
        if self._constants:
            self.export_library(library)
            return runtime.load_module(library)
        if self._objects:
            link_shared(library, self._written(folder))
            self.mod.import_module(runtime.load_module(library))
        return self.mod

    def _written(self, folder: Path) -> list[str]:
        """The paths of the object files in ``folder``."""
        constants = [str(self._constants.written(folder))] if self._constants else []
        return write_objects(folder, self._objects) + constants


def _packed(module: runtime.Module, _is_system_lib: bool, prefix: str, folder: str) -> str:
    """The path of an object file in ``folder`` with all that ``module`` imports.

    TVM would ask whether the code has the function that registers a system library. LLVM removes
    it, for it is empty, but not from code that it does not optimise.
    """
    pack = tvm.get_global_func("runtime.ModulePackImportsToLLVM")
    path = str(Path(folder) / f"{prefix}devc.o")
    pack(module, False, _llvm_target(module), prefix).write_to_file(path)
    return path


def _llvm_target(module: runtime.Module) -> str:
    """The target of the machine code in ``module``; empty where there is none."""
    if module.kind == "llvm":
        return str(module.get_function("_get_target_string")())
    return next(filter(None, map(_llvm_target, module.imports)), "")
