"""How a product is cut into register tiles: a small cost model over all tiles that fit."""

from __future__ import annotations

from dataclasses import dataclass

from hago.codegen.intrin.dot import Dot

# Registers that a sequence needs beside accumulators, B and A.
_TEMPORARIES = {"vpmaddubsw": 2, "vpmaddwd": 1}
_PRODUCTS = 7  # registers of columns of B, and of products on their way to partial sums
_MOST_ROWS, _MOST_COLUMNS = 14, 4
_L2 = 1 << 20  # bytes; both operands larger than this are streamed, the smaller is kept
_IN_L2 = _L2 // 4  # bytes of A that are read again from the cache at no cost


@dataclass(frozen=True)
class Blocking:
    """``rows`` x ``columns`` vectors a tile; ``columns_outer`` keeps a block of B in cache while
    the next comes from memory."""

    rows: int
    columns: int
    columns_outer: bool


def choose_blocking(
    width: int,
    vectors: int,
    steps: int,
    dot: Dot,
    registers: int,
    data_bytes: int,
    weight_bytes: int,
) -> Blocking:
    """The tile with the fewest estimated cycles for rows of ``width`` and ``vectors`` columns,
    on a machine with ``registers`` vector registers."""
    registers -= _TEMPORARIES.get(dot.name, 0)
    tiles = [
        (rows, columns)
        for columns in range(1, min(vectors, _MOST_COLUMNS) + 1)
        for rows in range(1, min(width, _MOST_ROWS) + 1)
        if _taken(rows, columns, dot) <= registers
    ]
    rows, columns = min(
        tiles, key=lambda tile: _cycles(tile[0], tile[1], width, vectors, steps, dot)
    )
    columns_outer = data_bytes <= _IN_L2 or weight_bytes > min(data_bytes, _L2)
    return Blocking(rows, columns, columns_outer)


def _taken(rows: int, columns: int, dot: Dot) -> int:
    """Registers of accumulators, B and A. Where a 2x2 square of sums fills a register, rows are
    multiplied in pairs, and a vector of four columns of B takes two."""
    if dot.rows == 2:
        return _even(rows) * columns + 2 * columns + _even(rows)
    if dot.sums > 1:
        return rows * columns * dot.sums + rows + _PRODUCTS
    return rows * columns + columns + (rows if dot.words > 1 else 1)


def _even(rows: int) -> int:
    return rows + rows % 2


def _cycles(rows: int, columns: int, width: int, vectors: int, steps: int, dot: Dot) -> float:
    """Two products and two loads a cycle; ten cycles a tile and four a vector to leave.

    Where rows are multiplied in pairs, the last of an odd number costs as much as two, and making
    a pair as much as a load.
    """

    def tile(r: int, c: int) -> float:
        multiplied = r if dot.rows == 1 else _even(r)
        loads = multiplied / (dot.words if dot.rows == 1 else 1) + dot.rows * dot.sums * c
        step = max(multiplied * c * dot.sums / 2, loads / 2, 4.0 if r * c < 8 else 0.0)
        return steps * step + 10 + 4 * r * c

    def along(total: int, size: int) -> list[tuple[int, int]]:
        return [(size, total // size)] + ([(total % size, 1)] if total % size else [])

    return sum(
        tile(r, c) * row_count * column_count
        for r, row_count in along(width, rows)
        for c, column_count in along(vectors, columns)
    )
