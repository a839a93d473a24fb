"""Constants as an object file: their bytes, a tensor's header for each, and where to find it.

The text is LLVM's, whose assembler comes with TVM: it writes objects for every target, and takes
the bytes from a file.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm import runtime

from hago.codegen.passes import CONSTANT
from hago.lower.constants import Constants

_ALIGNMENT = 64  # bytes: TVM's kernels assume it of every buffer (tvm::runtime::kAllocAlignment)
# DLTensor of dlpack.h: data; device's type and number; rank; dtype's code, bits, lanes; shape;
# strides; offset.
_TENSOR = "{ ptr, i32, i32, i32, i8, i8, i16, ptr, ptr, i64 }"
_CPU = 1  # kDLCPU
# Where code reaches 2 GiB around itself, linkers put sections for large data behind all others.
_READ_ONLY, _LARGE_READ_ONLY = ".rodata", {"x86_64": '.lrodata,"al"'}


@dataclass(frozen=True)
class ConstantsObject:
    """An object file of ``constants`` for the target ``triple`` (empty for this computer's), whose
    function ``hago.codegen.passes.CONSTANT`` gives the address of a DLTensor by number."""

    constants: Constants
    triple: str

    def written(self, folder: Path) -> Path:
        """Its path in ``folder``, beside what it is made of."""
        content, text, path = (folder / f"constants.{end}" for end in ("bin", "ll", "o"))
        offsets = _write_bytes(self.constants, content)
        lines = [f'target triple = "{self.triple}"'] if self.triple else []
        lines += [*_included(content, self._section), *_headers(self.constants, offsets)]
        text.write_text("\n".join(lines), encoding="utf-8")
        runtime.load_module(str(text)).write_to_file(str(path), "o")
        return path

    @property
    def _section(self) -> str:
        architecture = self.triple.partition("-")[0] or platform.machine()
        return _LARGE_READ_ONLY.get(architecture, _READ_ONLY)


def _write_bytes(constants: Constants, path: Path) -> list[int]:
    """Writes all of them; where each begins."""
    offsets = []
    with path.open("wb") as stream:
        for tensor in constants:
            stream.write(bytes(-stream.tell() % _ALIGNMENT))
            offsets.append(stream.tell())
            stream.write(tensor.numpy().tobytes())
    return offsets


def _included(content: Path, section: str) -> Iterator[str]:
    """The symbol ``hago_bytes``, with those of the file ``content``."""
    for line in (
        f".section {section}", f".balign {_ALIGNMENT}", "hago_bytes:",
        f".incbin {_assembler_string(content)}", ".text",
    ):  # fmt: skip
        escaped = line.replace("\\", "\\5C").replace('"', "\\22")
        yield f'module asm "{escaped}"'
    yield "@hago_bytes = external hidden global i8"


def _assembler_string(path: Path) -> str:
    plain = b"/._-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    letters = (chr(b) if b in plain else f"\\{b:03o}" for b in os.fsencode(path.absolute()))
    return f'"{"".join(letters)}"'


def _headers(constants: Constants, offsets: Sequence[int]) -> Iterator[str]:
    """A table of tensors, and the function that finds one."""
    for number, tensor in enumerate(constants):
        yield f"@extents{number} = private constant {_extents(tensor.shape)}"
    rows = (_header(*row) for row in zip(range(len(offsets)), constants, offsets, strict=True))
    table = f"[{len(offsets)} x {_TENSOR}]"
    yield f"@headers = private constant {table} [{', '.join(rows)}]"
    yield f"define protected ptr @{CONSTANT}(i64 %number) {{"
    yield f"  %address = getelementptr {table}, ptr @headers, i64 0, i64 %number"
    yield "  ret ptr %address\n}\n"


def _extents(shape: Sequence[int]) -> str:
    """Shape and strides, in elements."""
    strides = [1]
    for extent in reversed(shape[1:]):
        strides.insert(0, strides[0] * extent)
    both = [*shape, *strides[: len(shape)]]
    return f"[{len(both)} x i64] [{', '.join(f'i64 {extent}' for extent in both)}]"


def _header(number: int, tensor: runtime.Tensor, offset: int) -> str:
    rank, dtype = len(tensor.shape), tensor.dtype
    return (
        f"{_TENSOR} {{ ptr getelementptr (i8, ptr @hago_bytes, i64 {offset}), i32 {_CPU}, i32 0, "
        f"i32 {rank}, i8 {dtype.type_code}, i8 {dtype.bits}, i16 {dtype.lanes}, "
        f"ptr @extents{number}, ptr getelementptr (i64, ptr @extents{number}, i64 {rank}), i64 0 }}"
    )
