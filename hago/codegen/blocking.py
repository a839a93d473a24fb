"""How a product is cut into register tiles: what is possible, and a small cost model over it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hago.codegen.intrin.dot import Dot
from hago.codegen.workload import Machine

# Registers that a sequence needs beside accumulators, B and A.
_TEMPORARIES = {"vpmaddubsw": 2, "vpmaddwd": 1}
_PRODUCTS = 7  # registers of columns of B, and of products on their way to partial sums
_MOST_ROWS, _MOST_COLUMNS = 14, 4
_L2 = 1 << 20  # bytes; both operands larger than this are streamed, the smaller is kept
_IN_L2 = _L2 // 2  # bytes of A that are read again from the cache at no cost
_IN_L1 = 16 << 10  # bytes of B that stay in the first-level cache beside A and the results
_BLOCK = 24 << 10  # bytes of a block of B that stays there while A passes
_LOOP = 0.5  # cycles of an iteration that are not its arithmetic
# Cycles of a load beside products, where each word of A is one: while another thread of the core
# reads, too, tiles of few loads take 0.97 of the time of others (x86); alone they take the same.
_LOAD = 0.2
# Of a product that is more instructions than one: x86 has three ports for them, and two for one.
_INSTRUCTIONS = {"vpmaddubsw": 2.0, "vpmaddwd": 4 / 3}
_NEAR = 1.2  # times the cycles of the best tile: what the model cannot tell from it
_ALIKE = 2  # tiles of as many columns that are worth a measurement

Tile = tuple[int, int]  # rows, vectors of columns


@dataclass(frozen=True)
class Extents:
    """``outer`` times ``width`` rows by ``vectors`` of columns, summed in ``steps``; the bytes of
    both operands."""

    outer: int
    width: int
    vectors: int
    steps: int
    data_bytes: int
    weight_bytes: int


@dataclass(frozen=True)
class Blocking:
    """``rows`` x ``columns`` vectors a tile; a block of ``columns`` is multiplied by ``band`` tiles
    of rows before the next block takes its turn with them."""

    rows: int
    columns: int
    band: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}, bands of {self.band}"

    def row_tiles(self, extents: Extents) -> int:
        """All tiles of rows."""
        return extents.outer * -(-extents.width // self.rows)


def choose_blocking(extents: Extents, dot: Dot, machine: Machine) -> Blocking:
    """The tile with the fewest estimated cycles on ``machine``."""
    rows, columns = _tiles(extents, dot, machine)[0]
    tile = Blocking(rows, columns, 1)
    reuses = _reuses_columns(extents, columns)
    return replace(tile, band=tile.row_tiles(extents) if reuses else 1)


def blockings(extents: Extents, dot: Dot, machine: Machine) -> tuple[Blocking, ...]:
    """What is worth a measurement, the choice of :func:`choose_blocking` first: it and tiles of
    nearly as few cycles, each in bands of one tile and of all; it in bands of some as well."""
    first = choose_blocking(extents, dot, machine)
    found = [first, replace(first, band=_middle(first.row_tiles(extents)))]
    for rows, columns in ((first.rows, first.columns), *_near_tiles(extents, dot, machine)):
        tile = Blocking(rows, columns, 1)
        found += [tile, replace(tile, band=tile.row_tiles(extents))]
    return tuple(dict.fromkeys(found))


def product_cycles(dot: Dot, machine: Machine) -> float:
    """Cycles of a vector of products that are added to their sums."""
    return machine.cycles * _INSTRUCTIONS.get(dot.name, 1.0)


def _reuses_columns(extents: Extents, columns: int) -> bool:
    """Whether a block of B stays in the cache while all of A passes it: where A comes from the
    cache, where B comes from memory, or where the block stays in the first-level cache. If all of B
    does, whole rows of the result are written one after another instead, up to 1.7 times as fast.
    """
    data, weight = extents.data_bytes, extents.weight_bytes
    block = weight * columns / extents.vectors
    from_cache, from_memory = data <= _IN_L2, weight > min(data, _L2)
    return weight > _IN_L1 and (from_cache or from_memory or block <= _BLOCK)


def _near_tiles(extents: Extents, dot: Dot, machine: Machine) -> list[Tile]:
    """The best tiles of each number of columns, where the model cannot tell them from the best."""
    found: dict[int, list[Tile]] = {}
    tiles = _tiles(extents, dot, machine)
    for tile in tiles:
        if _cycles(tile, extents, dot, machine) < _NEAR * _cycles(tiles[0], extents, dot, machine):
            found.setdefault(tile[1], []).append(tile)
    return [tile for alike in found.values() for tile in alike[:_ALIKE]]


def _middle(tiles: int) -> int:
    """The divisor of ``tiles`` that is nearest to its square root."""
    divisors = (n for n in range(1, tiles + 1) if tiles % n == 0)
    return min(divisors, key=lambda n: abs(n - tiles**0.5))


def _tiles(extents: Extents, dot: Dot, machine: Machine) -> list[Tile]:
    """Every tile that fits, the one of the fewest cycles first."""
    registers = machine.registers - _TEMPORARIES.get(dot.name, 0)
    tiles = [
        (rows, columns)
        for columns in range(1, min(extents.vectors, _MOST_COLUMNS) + 1)
        for rows in range(1, min(extents.width, _MOST_ROWS) + 1)
        if _taken(rows, columns, dot) <= registers
    ]
    return sorted(tiles, key=lambda tile: _cycles(tile, extents, dot, machine))


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


def _cycles(size: Tile, extents: Extents, dot: Dot, machine: Machine) -> float:
    """As many loads as products a cycle, half of a cycle for the loop; ten cycles a tile and four a
    vector to leave. Three columns leave as codes in 48 bytes a row, which are packed apart.

    Where rows are multiplied in pairs, the last of an odd number costs as much as two, and making
    a pair as much as a load.
    """

    def tile(r: int, c: int) -> float:
        multiplied = r if dot.rows == 1 else _even(r)
        loads = multiplied / (dot.words if dot.rows == 1 else 1) + dot.rows * dot.sums * c
        products = multiplied * c * dot.sums * product_cycles(dot, machine)
        step = max(products, loads * machine.cycles, 4.0 if r * c < 8 else 0.0)
        if dot.words == dot.sums == 1:
            step += _LOAD * loads
        leaving = 6 if c == 3 and dot.accum == "int32" else 4
        return extents.steps * (step + _LOOP / dot.words) + 10 + leaving * r * c

    def along(total: int, part: int) -> list[tuple[int, int]]:
        return [(part, total // part)] + ([(total % part, 1)] if total % part else [])

    return sum(
        tile(r, c) * row_count * column_count
        for r, row_count in along(extents.width, size[0])
        for c, column_count in along(extents.vectors, size[1])
    )
