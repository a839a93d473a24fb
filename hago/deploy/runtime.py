"""TVM's small runtime without the compiler: two shared libraries and no Python parts of TVM.

``import tvm`` takes 1 to 3 seconds and loads 150 MB of compiler; an artifact needs libtvm_ffi (from
the package tvm_ffi) and libtvm_runtime, which is loaded here from inside the wheel of apache-tvm.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
from pathlib import Path
from typing import Any

from hago.errors import BuildError

# libtvm_runtime_extra has the calls behind sort, top-k and random operators.
_LIBRARIES = ("libtvm_runtime.so", "libtvm_runtime_extra.so")
_GPU_LIBRARY = "libtvm_runtime_cuda.so"
_POOL_OF_EQUAL_CORES = 1  # tvm::runtime::threading::ThreadGroup::AffinityMode::kBig


@functools.cache
def load_runtime() -> Any:
    """The module ``tvm_ffi``, with TVM's runtime functions registered.

    Raises BuildError where the runtime is not installed.
    """
    # Without this the pool pins the calling thread to one core, and all that it starts later.
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    import tvm_ffi  # only here: it imports torch where that is installed, which takes a second

    for library in _LIBRARIES:
        ctypes.CDLL(str(_library_folder() / library), ctypes.RTLD_GLOBAL)
    return tvm_ffi


@functools.cache
def load_gpu_runtime() -> Any:
    """The same, with the part for NVIDIA GPUs.

    Raises BuildError where that needs libraries of CUDA which are not there.
    """
    ffi = load_runtime()
    try:
        for library in (*_cuda_runtime(), _library_folder() / _GPU_LIBRARY):
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise BuildError(
            "TVM's runtime for GPUs cannot be loaded",
            fact=str(error),
            source=_GPU_LIBRARY,
            way_out="Install NVIDIA's driver, and pip install 'hago[cuda]' for libcudart.so.13.",
        ) from error
    return ffi


def _cuda_runtime() -> list[Path]:
    """CUDA's runtime in the Python package nvidia-cuda-runtime, if that is installed: the linker
    does not look there."""
    spec = importlib.util.find_spec("nvidia")
    roots = (spec.submodule_search_locations or ()) if spec else ()
    found = [Path(root) / "cu13" / "lib" / "libcudart.so.13" for root in roots]
    return [path for path in found if path.is_file()][:1]


def _library_folder() -> Path:
    """The folder of the wheel's shared libraries, found without importing tvm."""
    spec = importlib.util.find_spec("tvm")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(root) / "lib" / _LIBRARIES[0]).is_file():
            return Path(root) / "lib"
    raise BuildError(
        "TVM's runtime is not installed",
        fact=f"no {_LIBRARIES[0]} in the package apache-tvm",
        way_out="Install apache-tvm of the version that hago's pyproject.toml names.",
    )


def check_threads(count: int) -> None:
    """Raises BuildError where the process may not use that many CPUs."""
    available = len(os.sched_getaffinity(0))
    if not 1 <= count <= available:
        raise BuildError(
            f"{count} threads",
            fact=f"this process may use {available} CPUs",
            way_out=f"Give 1 to {available} with --threads.",
        )


def set_threads(count: int) -> None:
    """Lets kernels use ``count`` threads (the calling one included) of TVM's pool.

    Raises BuildError where the process may not use that many CPUs.
    """
    check_threads(count)
    runtime = load_runtime()
    # TVM makes its pool once, with half of the CPUs by default: later it can only use fewer.
    os.environ["TVM_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
    runtime.get_global_func("runtime.config_threadpool")(_POOL_OF_EQUAL_CORES, count)
