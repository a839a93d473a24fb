"""Arrays as TVM 0.19 and older stored them: one blob an array, or a named list of blobs.

Source: tvm/runtime/ndarray.h (NDArray::Save) and src/runtime/file_utils.cc (SaveParams).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_ARRAY, _LIST = 0xDD5E40F096B4A13F, 0xF7E58D4F05049CB7  # kTVMNDArrayMagic, kTVMNDArrayListMagic
_KINDS = {0: "int", 1: "uint", 2: "float"}  # DLDataTypeCode
_LONGEST_NAME, _MOST_AXES = 4096, 16


@dataclass
class Reader:
    """Takes a blob apart; ValueError where it ends too early."""

    data: bytes
    place: int = 0

    def take(self, size: int) -> bytes:
        if size < 0 or self.place + size > len(self.data):
            raise ValueError(f"it ends after {len(self.data)} bytes, in the middle of an array")
        self.place += size
        return self.data[self.place - size : self.place]

    def numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))

    def array(self) -> Array:
        """The array that begins here."""
        magic, _, _, _, rank, kind, bits, lanes = self.numbers("QQiiiBBH")
        if magic != _ARRAY:
            raise ValueError("an array does not begin where it should")
        if not 0 <= rank <= _MOST_AXES or kind not in _KINDS or lanes != 1:
            raise ValueError(f"an array of rank {rank} and type code {kind} is not supported")
        dtype = "bool" if (kind, bits) == (1, 1) else f"{_KINDS[kind]}{bits}"
        shape = self.numbers(f"{rank}q")
        (size,) = self.numbers("q")
        if any(extent < 0 for extent in shape):
            raise ValueError(f"an array has the shape {list(shape)}")
        if size != math.prod(shape) * np.dtype(dtype).itemsize:
            raise ValueError(f"{size} bytes are no {dtype}{list(shape)}")
        return np.frombuffer(self.take(size), dtype).reshape(shape)


def read_array(blob: bytes) -> Array:
    """One array. Raises ValueError for anything else."""
    return _checked(Reader(blob).array)


def read_named_arrays(blob: bytes) -> dict[str, Array]:
    """What ``save_param_dict`` wrote, by name. Raises ValueError for anything else."""
    return _checked(lambda: _named_arrays(Reader(blob)))


def _named_arrays(reader: Reader) -> dict[str, Array]:
    magic, _, count = reader.numbers("QQQ")
    if magic != _LIST:
        raise ValueError("it is no file that save_param_dict wrote")
    names = [_name(reader) for _ in range(_bounded(reader, count))]
    (arrays,) = reader.numbers("Q")
    if arrays != count:
        raise ValueError(f"it has {count} names for {arrays} arrays")
    return {name: reader.array() for name in names}


def _name(reader: Reader) -> str:
    (length,) = reader.numbers("Q")
    if length > _LONGEST_NAME:
        raise ValueError(f"it has a name of {length} bytes")
    return reader.take(length).decode()


def _bounded(reader: Reader, count: int) -> int:
    if count > len(reader.data):
        raise ValueError(f"it says that it has {count} arrays")
    return count


def _checked(read: Any) -> Any:
    try:
        return read()
    except (struct.error, TypeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
