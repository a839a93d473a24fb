"""Measurements that outlive a session: one small file each, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hago.report import Json
from hago.search.disk import DiskError

Key = Mapping[str, str]


@dataclass(frozen=True)
class Cache:
    """Numbers, or other JSON, in ``folder`` by key; several processes may use one folder.

    ``scope`` is a part of every key.
    """

    folder: Path
    scope: Key = field(default_factory=dict)

    def scoped(self, scope: Key) -> Cache:
        """The same cache, ``scope`` added to its keys."""
        return replace(self, scope={**self.scope, **scope})

    def get(self, key: Key) -> float | None:
        """The number of ``key``; None where there is none, or its file is damaged."""
        found = self.find(key)
        return float(found) if isinstance(found, int | float) else None

    def find(self, key: Key) -> Json:
        """What is kept under ``key``; None where there is nothing, or its file is damaged."""
        found = _read(self._path(key))
        return found[1] if found is not None and found[0] == self._whole(key) else None

    def items(self) -> Iterator[tuple[Key, Json]]:
        """What is kept within the scope, by whole keys, always in the same order."""
        for path in sorted(self.folder.glob("*/*.json")):
            found = _read(path)
            if found is not None and found[0].items() >= self.scope.items():
                yield found

    def put(self, key: Key, value: Json) -> None:
        """Keeps ``value``. Raises DiskError where the folder cannot be written."""
        path = self._path(key)
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump({"key": self._whole(key), "value": value}, stream)
            Path(scratch).replace(path)

    def check(self) -> None:
        """Raises DiskError where the folder cannot be written: before the long work."""
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DiskError(
                f"{self.folder}: cannot be written",
                fact=str(error),
                way_out="Make it a folder that can be written, or take another: XDG_CACHE_HOME is "
                "where caches are, --cache where a search's latencies are.",
            ) from error

    def _whole(self, key: Key) -> dict[str, str]:
        return {**self.scope, **key}

    def _path(self, key: Key) -> Path:
        text = json.dumps(self._whole(key), sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}.json"


def _read(path: Path) -> tuple[dict[str, str], Json] | None:
    """A file's whole key and value; None where there is none, or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        key, value = found["key"], found["value"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return (key, value) if isinstance(key, dict) else None


def default_cache(what: str = "latency") -> Path:
    """Where latencies (or something else) are kept for all sessions of a user."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hago" / what
