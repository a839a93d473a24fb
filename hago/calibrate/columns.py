"""Arrays on disk whose first axis is samples, read a few rows at a time.

A member of an ``.npz`` is decompressed as it is read and a ``.npy`` is mapped, so memory holds one
block of rows whatever the size of the file. Pickled objects are refused.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from hago.errors import DataError
from hago.scheme import Array

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_UNREADABLE = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, eq=False)
class Column:
    """One array: ``shape`` includes the sample axis, ``rows(n)`` yields blocks of n samples."""

    name: str
    shape: tuple[int, ...]
    rows: Callable[[int], Iterator[Array]]


def npz_columns(path: Path) -> list[Column]:
    """The members of an ``.npz``. Raises DataError on anything that is not one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    return [_member(path, name) for name in names]


def folder_columns(folder: Path) -> list[Column]:
    """The ``.npy`` files of a folder, named by the files."""
    return [_mapped(path) for path in sorted(folder.glob("*.npy"))]


def _mapped(path: Path) -> Column:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    _check_samples(path, array.shape)

    def rows(size: int) -> Iterator[Array]:
        for start in range(0, len(array), size):
            yield np.array(array[start : start + size])

    return Column(path.stem, array.shape, rows)


def _member(path: Path, member: str) -> Column:
    where = f"{path}, array '{member[:-4]}'"
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            shape, is_fortran, dtype = _read_header(stream)
    except _UNREADABLE as error:
        raise _unreadable(where, error) from error
    _check_samples(where, shape)

    def rows(size: int) -> Iterator[Array]:
        try:
            if is_fortran:  # its samples are not contiguous: the only case read as a whole
                with np.load(path, allow_pickle=False) as archive:
                    whole = archive[member[:-4]]
                yield from (whole[i : i + size] for i in range(0, len(whole), size))
                return
            with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
                _read_header(stream)
                for start in range(0, shape[0], size):
                    block = (min(size, shape[0] - start), *shape[1:])
                    yield _read_block(stream, block, dtype)
        except _UNREADABLE as error:
            raise _unreadable(where, error) from error

    return Column(member[:-4], shape, rows)


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(stream)
    if version not in _HEADER_READERS:
        raise ValueError(f"version {version} of the .npy format")
    shape, is_fortran, dtype = _HEADER_READERS[version](stream)
    if dtype.hasobject:
        raise ValueError("it holds pickled Python objects, which hago does not load")
    return shape, is_fortran, dtype


def _read_block(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
    size = int(np.prod(shape)) * dtype.itemsize
    data = stream.read(size)
    if len(data) < size:
        raise EOFError(f"the array ends {size - len(data)} bytes early")
    return np.frombuffer(data, dtype).reshape(shape)


def _check_samples(where: object, shape: tuple[int, ...]) -> None:
    if shape and 0 not in shape:
        return
    fact = f"shape {list(shape)}: the first axis is samples"
    raise DataError(f"{where}: no samples", fact=fact, way_out="Save at least one sample.")


def _unreadable(where: object, error: Exception) -> DataError:
    return DataError(
        f"{where}: cannot be read",
        fact=str(error) or type(error).__name__,
        way_out="Save it again with numpy.savez or numpy.save (plain numbers, no objects).",
    )
