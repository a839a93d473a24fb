"""Machine code of kernels: each is compiled once in a process, however many models call it.

A kernel's name tells what it computes, so that equal kernels of several models (the float network
that is calibrated, the same with other weights, the artifact) are one object file. The compiler
runs in as many threads as the process may use CPUs: it holds no lock of Python's.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import tvm
import tvm_ffi
from tvm import tirx

_KEPT = 1024  # object files, of about 20 kB each
# ``main`` checks what it is given, and allocates all else: checks in each kernel would be half of
# the code of a small one.
_UNCHECKED = {"tirx.disable_assert": True}
_DIGITS = 8  # of a name; of several kernels with one name, others get a number


def content_name(name: str, function: tirx.PrimFunc) -> str:
    """``name`` with what is particular to ``function``, the same in every process."""
    digest = tvm_ffi.structural_hash(function) % 16**_DIGITS
    return f"{name}_{digest:0{_DIGITS}x}"


def compile_objects(
    functions: Mapping[str, tirx.PrimFunc], target: tvm.target.Target, pipeline: str
) -> tuple[bytes, ...]:
    """The object files of ``functions`` (by their symbols) for ``target``, by ``pipeline``."""

    def compile_one(name: str) -> bytes:
        return _object(name, tvm_ffi.StructuralKey(functions[name]), str(target), pipeline)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return tuple(pool.map(compile_one, functions))


def write_objects(folder: Path, objects: Iterable[bytes]) -> list[str]:
    """The paths of ``objects``, files in ``folder`` now."""
    paths = []
    for number, content in enumerate(objects):
        path = folder / f"kernel{number}.o"
        path.write_bytes(content)
        paths.append(str(path))
    return paths


@lru_cache(_KEPT)
def _object(name: str, function: tvm_ffi.StructuralKey, target: str, pipeline: str) -> bytes:
    named = tvm.IRModule({name: function.key.with_attr("global_symbol", name)})
    with tvm.transform.PassContext(config=_UNCHECKED):
        library = tvm.tirx.build(named, tvm.target.Target(target), pipeline)
    with tempfile.TemporaryDirectory(prefix="hago-") as scratch:
        path = Path(scratch) / "kernel.o"
        library.write_to_file(str(path), "o")
        return path.read_bytes()
