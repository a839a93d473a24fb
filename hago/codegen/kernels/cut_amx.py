"""How a product is cut into AMX tiles, and what that costs by the manual's figures.

Every tile of a kernel has the same shape, so tiles are configured once a task. Nothing is read
that is not there: a width of 49 is four tiles of 13 rows, the last of which is moved back to end
with the width; a run of 96 bytes is two steps of 48. Only columns are padded, in packed weights.

Figures, in cycles [OPT: Intel 64 and IA-32 Optimization Reference Manual, 20.5]: a tile product
takes one a row of A (16 for a whole tile) and its result is ready after 52; a tile load takes
one for two rows from the first-level cache (8), and about two a row from the second.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hago.codegen.intrin.amx import LANES, ROW_BYTES, ROWS, TileProduct
from hago.codegen.kernels.product import Product

_LATENCY = 36  # from the last row of A that enters a product to its result
_L1 = 32 << 10  # bytes of a first-level cache that a block of weights may fill
_L2 = 1 << 20
_STORE, _LEAVE = 1, 4  # a row of a C tile to scratch memory; its epilogue
_TASK = 8192  # cycles for which configuring and releasing tiles, a few hundred, does not count
_MOST_TASKS = 64


@dataclass(frozen=True)
class Cut:
    """Tiles of ``rows`` x ``step_bytes`` of A; ``strips`` of them along the width of a product.

    A run is ``steps`` of them. C tiles stand in blocks of ``block_rows`` x ``block_columns``.
    ``columns_outer`` keeps a block of weights in cache rather than rows of A. A task of the
    thread pool is ``task_blocks`` blocks.
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
        is_line = 1 in (self.block_rows, self.block_columns)
        if self.block_rows * self.block_columns > 4 or not (is_line or self.block_columns == 2):
            raise ValueError("there are 4 tiles of C and 2 of B")


# C tiles of a block: tiles 0 to 3. Four products between two uses of a C tile are 64 cycles,
# more than the latency. 2 x 2 loads 4 tiles (32 cycles) for 4 products (64); with one column or
# one strip it is 5 (40). One row of tiles and one column of tiles need only A and B tiles 4 to 7.
_SQUARE, _TALL, _FLAT = (2, 2), (4, 1), (1, 4)


def choose_cut(product: Product, tile: TileProduct) -> Cut:
    """The cut of ``product``."""
    strips = -(-product.width // ROWS)
    run_bytes = product.run * tile.size
    steps = -(-run_bytes // ROW_BYTES)
    vectors = product.vectors(LANES)
    block_rows, block_columns = _SQUARE
    if vectors == 1:
        block_rows, block_columns = _TALL
    elif product.outer * strips == 1:
        block_rows, block_columns = _FLAT
    cut = Cut(
        rows=-(-product.width // strips),
        strips=strips,
        steps=steps,
        step_bytes=-(-run_bytes // (4 * steps)) * 4,
        block_rows=block_rows,
        block_columns=block_columns,
        columns_outer=_weight_bytes(product, tile) > min(_data_bytes(product, tile), _L2),
    )
    blocks = block_count(product, cut)
    tasks = min(max(round(cycles(product, tile, cut) / _TASK), 1), _MOST_TASKS, blocks)
    return replace(cut, task_blocks=-(-blocks // tasks))


def row_blocks(product: Product, cut: Cut) -> int:
    return -(-product.outer * cut.strips // cut.block_rows)


def column_blocks(product: Product, cut: Cut) -> int:
    """Of all groups."""
    return product.groups * -(-product.vectors(LANES) // cut.block_columns)


def block_count(product: Product, cut: Cut) -> int:
    return row_blocks(product, cut) * column_blocks(product, cut)


def cycles(product: Product, tile: TileProduct, cut: Cut) -> float:
    """An estimate of one core's cycles for ``product``."""
    steps = product.taps * cut.steps
    line = _line_cycles(product, tile)

    def block(strips: int, columns: int) -> float:
        loads = strips * cut.rows / 2 + columns * cut.step_bytes / 4 * line
        step = max(strips * columns * cut.rows, loads, cut.rows + _LATENCY)
        rows = strips * columns * cut.rows
        return max(steps * step, rows * _LEAVE) + rows * _STORE  # leaving is on the side

    def pieces(total: int, size: int) -> list[tuple[int, int]]:
        return [(size, total // size), (total % size, 1 if total % size else 0)]

    return product.groups * sum(
        block(strips, columns) * row_count * column_count
        for strips, row_count in pieces(product.outer * cut.strips, cut.block_rows)
        for columns, column_count in pieces(product.vectors(LANES), cut.block_columns)
    )


def fills_tiles(product: Product, tile: TileProduct) -> bool:
    """Whether tiles take fewer cycles than vectors do.

    They do not for a few rows, which wait for their weights either way, and for a reduction of
    a few words, whose tiles are stored as soon as they were loaded.
    """
    return cycles(product, tile, choose_cut(product, tile)) < dot_cycles(product, tile)


def dot_cycles(product: Product, tile: TileProduct) -> float:
    """The same with the vector instruction for the same operands."""
    rows = product.outer * product.width
    words = product.taps * -(-product.run * tile.size // 4)
    line = _line_cycles(product, tile)
    vectors = product.groups * product.vectors(LANES)
    return vectors * (max(rows * words * tile.dot_cycles, words * line) + rows * _LEAVE)


def _line_cycles(product: Product, tile: TileProduct) -> float:
    """To load 64 bytes of weights: two columns of them stay in the first-level cache, or not."""
    column = product.taps * product.run * tile.size * LANES
    return 2 if 2 * column > _L1 else 0.5


def _data_bytes(product: Product, tile: TileProduct) -> int:
    return product.outer * product.width * product.row_pitch * tile.size


def _weight_bytes(product: Product, tile: TileProduct) -> int:
    return product.groups * product.channels * product.taps * product.run * tile.size
