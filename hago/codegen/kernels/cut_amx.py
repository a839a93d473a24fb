"""How a product is cut into AMX tiles: a small cost model over the cuts that are possible.

Every tile of a kernel has the same shape, so tiles are configured once a task. Nothing is read
that is not there: a width of 49 is four tiles of 13 rows, the last of which is moved back to end
with the width; a run of 96 bytes is two steps of 48. Only columns are padded, in packed weights.

Cycles, by the Intel 64 and IA-32 Optimization Reference Manual, 20.5: a tile product takes one a
row of A (16 for a whole tile) and its result is ready after 52; a tile load or store moves a row
at the speed of any load or store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from hago.codegen.intrin.amx import LANES, ROW_BYTES, ROWS, TileProduct
from hago.codegen.kernels.product import Product

_LATENCY = 36  # from the last row of A that enters a product to its result
_STORE, _LEAVE = 1, 4  # a row of a C tile to scratch memory; its epilogue
_LINE = 0.5  # loading 64 bytes from the first-level cache
_L2_LINE, _L3_LINE = 1.5, 4  # as much more, from where it lies otherwise
# Half of a cache is for one operand: the other one streams through it.
_L1, _L2 = 24 << 10, 1 << 20
_TASK = 8192  # cycles for which configuring and releasing tiles, a few hundred, does not count
_MOST_TASKS = 64
_GAIN = 0.9  # of the estimate for vectors, which need no configuration and no permission
# C tiles of a block (strips of rows, vectors of columns): tiles 0 to 3. Four products between
# two uses of a C tile are 64 cycles, more than the latency. 2 x 2 loads 4 tiles for 4 products;
# a single column or a single strip loads 5, but only one of weights or of rows.
_SHAPES = ((2, 2), (4, 1), (1, 4))


@dataclass(frozen=True)
class Cut:
    """Tiles of ``rows`` x ``step_bytes`` of A; ``strips`` of them along the width of a product.

    A run is ``steps`` of them. C tiles stand in blocks of ``block_rows`` x ``block_columns``.
    Blocks of the same columns follow each other where ``columns_outer``, else those of the same
    rows. A task of the thread pool is ``task_blocks`` blocks.
    """

    rows: int
    strips: int
    steps: int
    step_bytes: int
    block_rows: int
    block_columns: int
    columns_outer: bool = False
    task_blocks: int = 1

    def __post_init__(self) -> None:
        if (self.block_rows, self.block_columns) not in _SHAPES:
            raise ValueError("there are 4 tiles of C, 2 of A and 2 of B")

    def __str__(self) -> str:
        order = "columns" if self.columns_outer else "rows"
        return f"{self.block_rows}x{self.block_columns} tiles, {order} outside"


def choose_cut(product: Product, tile: TileProduct) -> Cut:
    """The cut of ``product`` with the fewest estimated cycles."""
    return every_cut(product, tile)[0]


def every_cut(product: Product, tile: TileProduct) -> tuple[Cut, ...]:
    """All cuts of ``product``, that of the fewest estimated cycles first."""
    cuts = sorted(_cuts(product, tile), key=partial(cycles, product, tile))
    return tuple(_with_tasks(product, tile, cut) for cut in cuts)


def _with_tasks(product: Product, tile: TileProduct, cut: Cut) -> Cut:
    blocks = block_count(product, cut)
    tasks = min(max(round(cycles(product, tile, cut) / _TASK), 1), _MOST_TASKS, blocks)
    return replace(cut, task_blocks=-(-blocks // tasks))


def _cuts(product: Product, tile: TileProduct) -> Iterator[Cut]:
    strips = -(-product.width // ROWS)
    rows = -(-product.width // strips)
    run_bytes = product.run * tile.size
    steps = -(-run_bytes // ROW_BYTES)
    step_bytes = -(-run_bytes // (4 * steps)) * 4
    for shape in _SHAPES:
        for columns_outer in (False, True):
            yield Cut(rows, strips, steps, step_bytes, *shape, columns_outer)


def row_blocks(product: Product, cut: Cut) -> int:
    return -(-product.outer * cut.strips // cut.block_rows)


def column_blocks(product: Product, cut: Cut) -> int:
    """Of all groups."""
    return product.groups * -(-product.vectors(LANES) // cut.block_columns)


def block_count(product: Product, cut: Cut) -> int:
    return row_blocks(product, cut) * column_blocks(product, cut)


def fills_tiles(product: Product, tile: TileProduct) -> bool:
    """Whether tiles take clearly fewer cycles than vectors do.

    They do not for a few rows, which wait for their weights either way, and for a reduction of
    a few words, whose tiles are stored as soon as they were loaded.
    """
    estimate = cycles(product, tile, choose_cut(product, tile))
    return estimate < _GAIN * dot_cycles(product, tile)


def cycles(product: Product, tile: TileProduct, cut: Cut) -> float:
    """An estimate of one core's cycles for ``product``."""

    def pieces(total: int, size: int) -> list[tuple[int, int]]:
        return [(size, total // size), (total % size, 1 if total % size else 0)]

    return product.groups * sum(
        _block_cycles(product, tile, cut, strips, columns) * row_count * column_count
        for strips, row_count in pieces(product.outer * cut.strips, cut.block_rows)
        for columns, column_count in pieces(product.vectors(LANES), cut.block_columns)
    )


def _block_cycles(
    product: Product, tile: TileProduct, cut: Cut, strips: int, columns: int
) -> float:
    """Products and loads overlap, and so does the epilogue of the block before."""
    steps = product.taps * cut.steps
    loaded = strips * cut.rows + columns * cut.step_bytes / 4
    multiply = steps * max(strips * columns * cut.rows, cut.rows + _LATENCY)
    load = steps * loaded * _LINE + _far_cycles(product, tile, cut, strips, columns)
    rows = strips * columns * cut.rows
    return max(multiply, load, rows * _LEAVE) + rows * _STORE


def _far_cycles(
    product: Product, tile: TileProduct, cut: Cut, strips: int, columns: int
) -> float:
    """For what a block reads that the block before did not leave in the first-level cache.

    Strips of neighbouring rows of an image share all but one of their taps.
    """
    line = cut.rows * product.row_pitch + max(product.run - product.row_pitch, 0)
    all_a, all_b = _data_bytes(product, tile), _weight_bytes(product, tile)
    a = min((product.taps + strips - 1) * line * tile.size, all_a)
    b = product.taps * cut.steps * columns * cut.step_bytes * LANES
    if cut.columns_outer:
        again_a, again_b = all_a > _L1, b > _L1
    else:
        again_a, again_b = a > _L1, all_b > _L1
    times_a = 1 if again_a else 1 / column_blocks(product, cut)
    times_b = 1 if again_b else 1 / row_blocks(product, cut)
    return (a * times_a * _far_line(all_a) + b * times_b * _far_line(all_b)) / ROW_BYTES


def _far_line(operand_bytes: int) -> float:
    return _L3_LINE if operand_bytes > _L2 else _L2_LINE


def dot_cycles(product: Product, tile: TileProduct) -> float:
    """The same with the vector instruction for the same operands, in blocks of some 8 rows."""
    rows = product.outer * product.width
    vectors = product.groups * product.vectors(LANES)
    words = product.taps * -(-product.run * tile.size // 4)
    times, all_b = -(-rows // 8), vectors * words * ROW_BYTES
    far = all_b * _far_line(all_b) * (times if words * ROW_BYTES > _L1 else 1)
    load = vectors * words * times * _LINE + far / ROW_BYTES
    return max(vectors * words * rows * tile.dot_cycles, load) + vectors * rows * _LEAVE


def _data_bytes(product: Product, tile: TileProduct) -> int:
    return product.outer * product.width * product.row_pitch * tile.size


def _weight_bytes(product: Product, tile: TileProduct) -> int:
    return product.groups * product.channels * product.taps * product.run * tile.size
