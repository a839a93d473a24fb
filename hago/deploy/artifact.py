"""Writes an artifact folder so that it is complete or absent."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from pathlib import Path

from hago.deploy.manifest import Manifest
from hago.errors import BuildError

LIBRARY = "model.so"
COMPRESSED = "model.so.gz"
MANIFEST = "manifest.json"


def check_output(folder: Path) -> None:
    """Raises BuildError where an artifact cannot be written; call it before the long work.

    A folder that exists must be empty or an artifact (which is then replaced).
    """
    if folder.exists() and not folder.is_dir():
        raise BuildError(f"{folder}: is not a folder", way_out="Give a folder with -o.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise BuildError(
            f"{folder}: not empty, and not an artifact",
            fact="hago replaces only folders that it wrote",
            way_out="Give another folder with -o, or empty this one.",
        )
    nearest = next(parent for parent in folder.absolute().parents if parent.exists())
    try:
        Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=nearest)).rmdir()
    except OSError as error:
        raise _unwritable(folder, error) from error


def library_of(folder: Path) -> Path:
    """The library of an artifact: model.so, or model.so.gz where it was compressed."""
    compressed = folder / COMPRESSED
    return compressed if compressed.is_file() else folder / LIBRARY


def write_artifact(
    folder: Path,
    export: Callable[[Path], None],
    manifest: Manifest,
    *,
    compressed: bool = False,
) -> Path:
    """Writes model.so (by ``export``) and manifest.json to ``folder``; the folder's path.

    Both are written to a folder beside it, which is renamed when complete. Where ``compressed``,
    the library becomes model.so.gz, which takes some 10 ms a MB longer to load. Raises BuildError
    where that is impossible; what ``export`` raises passes, and nothing is left behind.
    """
    check_output(folder)
    scratch = _scratch_beside(folder)
    try:
        export(scratch / LIBRARY)
        if compressed:
            _compress(scratch / LIBRARY, scratch / COMPRESSED)
        text = _described(manifest, library_of(scratch)).to_text()
        (scratch / MANIFEST).write_text(text, encoding="utf-8")
        _replace(scratch, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def replace_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes another manifest into an artifact, e.g. with what was measured since it was built."""
    text = _described(manifest, library_of(folder)).to_text()
    scratch = folder / f".{MANIFEST}"
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(folder / MANIFEST)
    except OSError as error:
        raise _unwritable(folder, error) from error


def folder_bytes(folder: Path) -> int:
    """What an artifact takes on disk."""
    return sum(path.stat().st_size for path in folder.iterdir())


def library_bytes(folder: Path) -> bytes:
    """What model.so holds, or held. Raises OSError, EOFError or zlib.error where the file is
    damaged."""
    stored = library_of(folder)
    content = stored.read_bytes()
    return gzip.decompress(content) if stored.name == COMPRESSED else content


def inflate(stored: Path, path: Path) -> None:
    """Writes the library in the file ``stored``, compressed, to ``path``. Raises as
    :func:`library_bytes` does."""
    with gzip.open(stored) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)


def _compress(library: Path, target: Path) -> None:
    """The same library gives the same bytes: no name, no time. Removes ``library``."""
    target.write_bytes(gzip.compress(library.read_bytes(), mtime=0))
    library.unlink()


def checksum(path: Path) -> int:
    """The CRC-32 of a file: it finds damage, in a third of the time that SHA-256 takes."""
    with _mapped(path) as content:
        return zlib.crc32(content)


def _described(manifest: Manifest, library: Path) -> Manifest:
    """``manifest`` with what identifies ``library``."""
    with _mapped(library) as content:
        digest = hashlib.sha256(content).hexdigest()
    return replace(manifest, library_sha256=digest, library_crc32=checksum(library))


@contextmanager
def _mapped(path: Path) -> Iterator[mmap | bytes]:
    """The bytes of a file, which are not copied."""
    if not path.stat().st_size:
        yield b""  # an empty file cannot be mapped
        return
    with path.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as content:
        yield content


def _scratch_beside(folder: Path) -> Path:
    """A new hidden folder on the same file system as ``folder``, with ordinary permissions."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{folder.name}."
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent.resolve()))
    except OSError as error:
        raise _unwritable(folder, error) from error
    scratch.chmod(0o777 & ~_umask())
    return scratch


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _replace(scratch: Path, folder: Path) -> None:
    """Puts ``scratch`` where ``folder`` is: no moment at which a half-written folder is there."""
    if folder.is_dir() and any(folder.iterdir()):
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent.resolve()))
        folder.rename(old / "replaced")
        scratch.rename(folder)
        shutil.rmtree(old)
        return
    scratch.rename(folder)


def _unwritable(folder: Path, error: OSError) -> BuildError:
    return BuildError(
        f"{folder}: cannot be written",
        fact=str(error),
        way_out="Give a folder with -o that you may write to.",
    )
