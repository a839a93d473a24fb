"""Embedding tables in 4 bits, each row with 16 values of its own.

H. Guan et al., Post-Training 4-bit Quantization on Embedding Tables, arXiv 1911.02079, row-wise
k-means: the values of a row are clustered, a code is the place of a cluster's mean. It starts at
the even grid of :mod:`hago.methods.greedy_embedding`, and a round of Lloyd's algorithm never makes
the error larger. The means are float16: a row of 384 takes 224 bytes instead of 1536.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from hago.calibrate import Stats
from hago.dataflow import read_dataflow
from hago.graph import QuantModel
from hago.methods.greedy_embedding import greedy_rows
from hago.methods.method import register
from hago.prepare.narrow_tables import LEVELS, Bytes, CodebookTable, float_tables, narrow_tables
from hago.scheme import Floats

_CHUNK = 2048  # rows at a time


@register
@dataclass(frozen=True)
class CodebookEmbedding:
    """Stores tables of ``fewest`` rows or more in 4 bits; ``rounds`` of Lloyd's algorithm."""

    name: ClassVar[str] = "codebook_embedding"
    paper: ClassVar[str] = "Guan et al., arXiv 1911.02079, k-means"

    rounds: int = 16
    fewest: int = 1024

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with other tables in its module."""
        module = model.graph.module
        tables = {
            name: clustered_rows(table, self.rounds)
            for name, table in float_tables(read_dataflow(module), self.fewest).items()
        }
        if not tables:
            return model
        return replace(model, graph=replace(model.graph, module=narrow_tables(module, tables)))


def clustered_rows(table: Floats, rounds: int) -> CodebookTable:
    """4-bit codes of ``table`` float32 [rows, width], with the 16 values of each row."""
    parts = [table[start : start + _CHUNK] for start in range(0, len(table), _CHUNK)]
    found = [_clustered(part, rounds) for part in parts]
    return CodebookTable(
        np.concatenate([each.codes for each in found]),
        np.concatenate([each.values for each in found]),
    )


def _clustered(rows: Floats, rounds: int) -> CodebookTable:
    start = greedy_rows(rows, bins=200, share=0.16)
    grid = np.arange(LEVELS) * start.scale.astype(np.float64)[:, None]
    means = grid + start.bias.astype(np.float64)[:, None]
    for _ in range(rounds):
        means = _means(rows, _nearest(rows, means), means)
    values = np.sort(means, axis=1).astype(np.float16)
    return CodebookTable(_nearest(rows, values.astype(np.float64)), values)


def _nearest(rows: Floats, means: npt.NDArray[np.float64]) -> Bytes:
    """The place of the nearest of the rising ``means`` [rows, 16]."""
    borders = (means[:, 1:] + means[:, :-1]) / 2
    codes = np.zeros(rows.shape, np.uint8)
    for border in borders.T:
        codes += rows > border[:, None]
    return codes


def _means(
    rows: Floats, codes: Bytes, before: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The mean of each cluster; one without values stays where it is."""
    places = (np.arange(len(rows))[:, None] * LEVELS + codes).reshape(-1)
    counts = np.bincount(places, minlength=before.size).reshape(before.shape)
    sums = np.bincount(places, rows.reshape(-1), before.size).reshape(before.shape)
    return np.where(counts > 0, sums / np.maximum(counts, 1), before)
