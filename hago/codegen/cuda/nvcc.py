"""CUDA C++ becomes machine code by nvcc, which needs no GPU."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

from hago.codegen.cuda.shell import INCLUDE
from hago.errors import BuildError

Form = Literal["fatbin", "cubin", "ptx"]
# Inside of the package nvidia-cuda-nvcc, by its versions.
_IN_PACKAGE = ("nvidia/cu13/bin/nvcc", "nvidia/cuda_nvcc/bin/nvcc")


def find_nvcc() -> str | None:
    """nvcc of the PATH, of $CUDA_HOME, or of the Python package nvidia-cuda-nvcc."""
    if found := shutil.which("nvcc"):
        return found
    folders = [Path(os.environ["CUDA_HOME"]) / "bin/nvcc"] if os.environ.get("CUDA_HOME") else []
    spec = importlib.util.find_spec("nvidia")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        folders += [Path(root).parent / inner for inner in _IN_PACKAGE]
    return next((str(path) for path in folders if path.is_file()), None)


def require_nvcc() -> str:
    """nvcc. Raises BuildError where there is none."""
    if found := find_nvcc():
        return found
    raise BuildError(
        "no CUDA compiler on this machine",
        fact="nvcc is neither on the PATH, nor in $CUDA_HOME, nor a Python package",
        source="the specification's target, a GPU",
        way_out="Install it: pip install 'hago[cuda]'. No GPU is needed.",
    )


def compile_cuda(source: str, architecture: str, form: Form = "fatbin") -> bytes:
    """``source`` for GPUs of an ``architecture`` ("80" is 8.0, "90a" Hopper's own).

    "fatbin" holds the machine code, and PTX that drivers translate for later GPUs (not an
    architecture's own). Raises
    BuildError where there is no nvcc, or it refuses the source.
    """
    nvcc = require_nvcc()
    code = f"sm_{architecture}"
    codes = f"[{code},compute_{architecture}]" if form == "fatbin" else code
    with tempfile.TemporaryDirectory(prefix="hago-") as scratch:
        text, binary = Path(scratch) / "kernels.cu", Path(scratch) / "kernels.bin"
        text.write_text(source, encoding="utf-8")
        command = [
            nvcc, f"--{form}", "-O3", "-std=c++17", f"-I{INCLUDE}",
            f"-gencode=arch=compute_{architecture},code={codes}", "-o", str(binary), str(text),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(
                "nvcc refuses the kernels",
                fact=(done.stderr.strip() or f"exit status {done.returncode}")[:2000],
                source=" ".join(command[:5]),
                way_out="Install nvcc 12.4 or later with a C++ compiler that it takes.",
            )
        return binary.read_bytes()
