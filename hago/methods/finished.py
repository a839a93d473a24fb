"""What was learned of finished blocks, kept in a folder: an interrupted run goes on from there.

A block's key is a digest of everything that its result depends on: the method with its options,
the samples, the model with its numbers, and the keys of the blocks before it. Files are written
whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hago.graph import Edge, QuantModel, parse_edge
from hago.scheme import Array, TensorQuant

_CODES, _SCALE, _ZERO_POINT, _BIAS = "codes", "scale", "zero_point", "bias"


@dataclass(frozen=True)
class Finished:
    """The files of ``folder``, one a block."""

    folder: Path

    def load(self, key: str, model: QuantModel) -> QuantModel | None:
        """``model`` with what is kept under ``key``, or None where nothing is."""
        path = self._path(key)
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as kept:
            found = {name: kept[name] for name in kept.files}
        codes = {parse_edge(edge): array for edge, array in _of_kind(found, _CODES).items()}
        biases = {parse_edge(edge): array for edge, array in _of_kind(found, _BIAS).items()}
        return replace(
            model.with_quants(_quants(found, model)),
            weights={**model.weights, **codes},
            biases={**model.biases, **biases},
        )

    def save(self, key: str, before: QuantModel, after: QuantModel) -> None:
        """Keeps what ``after`` has and ``before`` had not."""
        arrays: dict[str, Array] = {}
        for edge, codes in after.weights.items():
            if codes is not before.weights.get(edge):
                arrays[f"{_CODES} {edge}"] = codes
        for edge, quant in after.quants.items():
            if quant is not before.quants[edge]:
                arrays[f"{_SCALE} {edge}"] = quant.scale
                arrays[f"{_ZERO_POINT} {edge}"] = quant.zero_point
        for edge, bias in after.biases.items():
            if bias is not before.biases.get(edge):
                arrays[f"{_BIAS} {edge}"] = bias
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self._path(key).with_suffix(f".{os.getpid()}")
        with partial.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        partial.replace(self._path(key))

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"


def digest(*parts: Any) -> str:
    """A name for ``parts``: strings, arrays, and mappings and iterables of these."""
    state = hashlib.sha256()
    for part in parts:
        _add(state, part)
    return state.hexdigest()[:32]


def _add(state: Any, part: Any) -> None:
    if isinstance(part, np.ndarray):
        state.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
    elif isinstance(part, Mapping):
        _add(state, part.items())
    elif isinstance(part, TensorQuant):
        _add(state, (str(part.scheme), part.scale, part.zero_point))
    elif isinstance(part, Iterable) and not isinstance(part, str):
        for each in part:
            _add(state, each)
    else:
        state.update(f"{part}\n".encode())


def _of_kind(found: Mapping[str, Array], kind: str) -> dict[str, Array]:
    """Arrays by what is behind their kind: an edge, or an operation."""
    marks = ((name.partition(" "), array) for name, array in found.items())
    return {of: array for (first, _, of), array in marks if first == kind}


def _quants(found: Mapping[str, Array], model: QuantModel) -> dict[Edge, TensorQuant]:
    scales, zero_points = _of_kind(found, _SCALE), _of_kind(found, _ZERO_POINT)
    return {
        edge: TensorQuant(model.quants[edge].scheme, scale, zero_points[str(edge)])
        for edge, scale in ((parse_edge(each), scale) for each, scale in scales.items())
    }
