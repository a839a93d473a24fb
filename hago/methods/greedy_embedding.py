"""Embedding tables in 4 bits, each row in the range with the least error.

    T~ = s round((clip(T, low, high) - low) / s) + low,    s = (high - low) / 15

H. Guan et al., Post-Training 4-bit Quantization on Embedding Tables, arXiv 1911.02079,
greedy search: from a row's extremes inwards, one of ``bins`` parts of their distance at a time,
on the side where the squared error is smaller then; the best range on the way is taken. Rows that
are constant come out exactly. Scale and bias are float16, so a row of 384 takes 196 bytes instead
of 1536.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from hago.calibrate import Stats
from hago.dataflow import read_dataflow
from hago.graph import QuantModel
from hago.methods.method import register
from hago.prepare.narrow_tables import LEVELS, RowTable, float_tables, narrow_tables
from hago.scheme import Floats

Rows = npt.NDArray[np.float32]
_CHUNK = 2048  # rows at a time: the search passes over them again and again


@register
@dataclass(frozen=True)
class GreedyEmbedding:
    """Stores tables of ``fewest`` rows or more in 4 bits.

    The range of a row may shrink by ``share`` in ``bins``-ths of it (the paper's r and b).
    """

    name: ClassVar[str] = "greedy_embedding"
    paper: ClassVar[str] = "Guan et al., arXiv 1911.02079, greedy search"

    bins: int = 200
    share: float = 0.16
    fewest: int = 1024

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with other tables in its module."""
        module = model.graph.module
        tables = {
            name: greedy_rows(table, self.bins, self.share)
            for name, table in float_tables(read_dataflow(module), self.fewest).items()
        }
        if not tables:
            return model
        return replace(model, graph=replace(model.graph, module=narrow_tables(module, tables)))


def greedy_rows(table: Floats, bins: int, share: float) -> RowTable:
    """4-bit codes of ``table`` float32 [rows, width], with the numbers of each row."""
    parts = [table[start : start + _CHUNK] for start in range(0, len(table), _CHUNK)]
    found = [_quantized(part, *_search(part, bins, share)) for part in parts]
    return RowTable(
        np.concatenate([each.codes for each in found]),
        np.concatenate([each.scale for each in found]),
        np.concatenate([each.bias for each in found]),
    )


def _search(rows: Rows, bins: int, share: float) -> tuple[Rows, Rows]:
    """The best range on the way inwards, both ends [rows]."""
    low, high = rows.min(axis=1), rows.max(axis=1)
    part, best, least = (high - low) / bins, (low, high), _error(rows, low, high)
    for _ in range(int(bins * share)):
        from_left, from_right = _error(rows, low + part, high), _error(rows, low, high - part)
        left = from_left < from_right
        low, high = np.where(left, low + part, low), np.where(left, high, high - part)
        error = np.minimum(from_left, from_right)
        better = error < least
        best = np.where(better, low, best[0]), np.where(better, high, best[1])
        least = np.minimum(error, least)
    return best


def _error(rows: Rows, low: Rows, high: Rows) -> Rows:
    """The squared error of each row."""
    return np.square(_quantized(rows, low, high).decode() - rows).sum(axis=1)


def _quantized(rows: Rows, low: Rows, high: Rows) -> RowTable:
    """Codes in the range, of the numbers as float16 has them; a step of 0 is one of 1."""
    scale = ((high - low) / (LEVELS - 1)).astype(np.float16)
    bias = low.astype(np.float16)
    step = np.where(scale > 0, scale, 1).astype(np.float32)
    codes = np.rint((rows - bias.astype(np.float32)[:, None]) / step[:, None])
    return RowTable(np.clip(codes, 0, LEVELS - 1).astype(np.uint8), scale, bias)
