"""Machine code for a GPU goes into the library, in the place of its text.

TVM without CUDA keeps kernels as text: a module of kind "cuda" in the bytes that a library carries,

    [4]"cuda" [n]( [4]"cuda" functions [length]text )      lengths are 64-bit integers

and its runtime compiles that text when it is loaded, with a compiler that few computers with a GPU
have (TVM's src/backend/cuda/runtime/cuda_module.cc: SaveToBytes, CUDAModuleLoadFromBytes). Here
the format becomes "cubin", which the runtime hands to the driver as it is: cuModuleLoadData takes a
fatbin, and reads no further than its headers say. The new bytes are as many as the old, so that
the object file around them stays as it is: the text is made as long as the code before.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tvm_ffi
from tvm.runtime import Executable

from hago.codegen.cuda.device import architecture_of
from hago.codegen.cuda.nvcc import compile_cuda
from hago.errors import BuildError
from hago.hardware.spec import HardwareSpec

_KIND, _CODE = b"cuda", b"cubin"
_HOOK = "tvm_callback_cuda_postproc"  # called with TVM's text and target, gives the text to keep

Link = Callable[..., None]


def export_for_gpu(
    build: Callable[[], Executable], spec: HardwareSpec, path: Path, link: Link
) -> None:
    """Writes the shared library ``path`` of what ``build`` builds: host code of this computer,
    kernels for ``spec``. Raises BuildError where there is no nvcc."""
    compiled: list[tuple[bytes, bytes]] = []

    def compile_and_pad(text: str, target: object) -> str:
        code = compile_cuda(text, architecture_of(spec))
        padded = text.encode().ljust(len(code) + len(_CODE) - len(_KIND), b"\n")
        compiled.append((padded, code))
        return padded.decode()

    with _hook(compile_and_pad):
        executable = build()

    def link_with_code(output: str, objects: list[str], *options: Any, **named: Any) -> None:
        for text, code in compiled:
            _replace_in(objects, text, code)
        link(output, objects, *options, **named)

    link_with_code.object_format = "o"  # type: ignore[attr-defined]  # read by export_library
    executable.export_library(str(path), fcompile=link_with_code)


@contextmanager
def _hook(function: Callable[[str, object], str]) -> Iterator[None]:
    tvm_ffi.register_global_func(_HOOK, function, override=True)
    try:
        yield
    finally:
        tvm_ffi.registry.remove_global_func(_HOOK)


def _replace_in(objects: list[str], text: bytes, code: bytes) -> None:
    """Puts ``code`` in the place of ``text`` in the one object file that has it."""
    for name in objects:
        data = Path(name).read_bytes()
        if _sized(text) in data:
            Path(name).write_bytes(with_code(data, text, code))
            return
    raise _other_format("no object file has the kernels' text")


def with_code(data: bytes, text: bytes, code: bytes) -> bytes:
    """``data`` with the module of ``text`` as one of ``code``, of the same length.

    Raises BuildError where the bytes are not laid out as this file says.
    """
    end = data.index(_sized(text))
    start = data.rfind(_sized(_KIND), 0, end)
    stop = end + len(_sized(text))
    head = _sized(_KIND) + struct.pack("<Q", stop - start)
    if start < len(head) or data[start - len(head) : start] != head:
        raise _other_format("the bytes before the kernels' text are no module's")
    functions = data[start + len(_sized(_KIND)) : end]
    room = len(text) - (len(_CODE) - len(_KIND))
    module = _sized(_CODE) + functions + _sized(code.ljust(room, b"\0"))
    assert len(module) == stop - start, "lengths of text and code"
    return data[:start] + module + data[stop:]


def _sized(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def _other_format(fact: str) -> BuildError:
    return BuildError(
        "the library's kernels cannot be replaced by machine code",
        fact=fact,
        source="hago/deploy/device_code.py",
        way_out="Install the version of apache-tvm that hago's pyproject.toml names.",
    )
