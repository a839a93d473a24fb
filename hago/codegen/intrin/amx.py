"""Tile instructions of x86 (AMX): what each computes, and the code it becomes, side by side.

A tile is a register of up to 16 rows of 64 bytes; :func:`configure` gives every tile its shape.
A product multiplies a tile A of 16 rows by a packed tile B, whose row k holds, for each of 16
columns, the ``depth`` elements ``depth * k ..`` of the reduction:

    c[m][n] += sum_k sum_d a[m][depth*k + d] * b[k][depth*n + d]

Intel 64 and IA-32 SDM vol. 2: LDTILECFG, TILELOADD, TDPBUSD, TDPBF16PS, TILESTORED, TILERELEASE.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.workload import PROVEN, Array, BatchMatmul, Conv2d, Machine, Matmul

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs

ROWS, ROW_BYTES, LANES = 16, 64, 16
TILES = 8


@dataclass(frozen=True)
class TileProduct:
    """One instruction: dtypes of A, of B and of C, and how many elements a lane sums.

    ``depth`` elements of A take 32 bits, as do the lanes of C. ``dot_cycles`` is what the vector
    instruction for the same operands takes, for 16 lanes.
    """

    name: str
    data: str
    weight: str
    accum: str
    depth: int
    dot_cycles: float = 0.5

    @property
    def size(self) -> int:
        """Bytes of an element of A."""
        return 4 // self.depth


TILE_PRODUCTS: tuple[TileProduct, ...] = (
    TileProduct("tdpbusd", "uint8", "int8", "int32", 4),
    TileProduct("tdpbssd", "int8", "int8", "int32", 4),
    TileProduct("tdpbf16ps", "bfloat16", "bfloat16", "float32", 2, dot_cycles=2.0),
)


def find_tile(
    workload: Conv2d | Matmul | BatchMatmul, machine: Machine
) -> TileProduct | None:
    """The tile product for the workload's element types, if the machine's rows name one."""
    weight = PROVEN.get(workload.weight, workload.weight)
    types = (workload.data, weight)
    for tile in TILE_PRODUCTS:
        if tile.name in machine.instructions and (tile.data, tile.weight) == types:
            return tile
    return None


def multiply_tiles(product: TileProduct, c: Array, a: Array, b: Array) -> Array:
    """The numpy meaning: ``c`` [m, n] plus ``a`` [m, k] times packed ``b`` [k/depth, depth*n].

    int32 wraps. float32 sums the products of each d by itself, in the order of k, then adds the
    two sums to each other and the result to ``c``: SDM vol. 2, TDPBF16PS.
    """
    depth, wide = product.depth, np.int64 if product.accum == "int32" else np.float32
    left: Any = a.reshape(len(a), -1, depth).astype(wide)
    right: Any = b.reshape(len(b), -1, depth).astype(wide)
    sums: Any = np.zeros((len(a), right.shape[1], depth), wide)
    for k in range(len(b)):
        sums += left[:, None, k, :] * right[None, k]
    total = sums.sum(axis=-1) if wide is np.int64 else sums[..., 0] + sums[..., 1]
    wrapped: Array = (c.astype(wide) + total).astype(c.dtype)
    return wrapped


def configuration(rows: int, depth_bytes: int) -> list[int]:
    """The 64 bytes of LDTILECFG (SDM vol. 1, table 18-1) as 16 little-endian words.

    Tiles 0 to 3 (C) are ``rows`` x 64 bytes, 4 and 5 (A) ``rows`` x ``depth_bytes``, 6 and 7 (B)
    ``depth_bytes / 4`` x 64 bytes.
    """
    c, a, b = (rows, ROW_BYTES), (rows, depth_bytes), (depth_bytes // 4, ROW_BYTES)
    table = np.zeros(64, np.uint8)
    table[0] = 1
    for tile, (count, width) in enumerate((c, c, c, c, a, a, b, b)):
        table[16 + 2 * tile], table[48 + tile] = width, count
    return [int(word) for word in table.view("<i4")]


def configure(words: list[int]) -> None:
    """Gives the tiles of this thread their shapes; all of them become zero."""
    table = T.alloc_buffer((len(words),), "int32")
    for index, word in enumerate(words):
        T.buffer_store(table, tir.const(word, "int32"), [index])
    _instruction("ldtilecfg", tir.address_of(table[0]))


def release() -> None:
    """Ends this thread's use of tiles: the system need not save them any more."""
    _instruction("tilerelease")


def zero(tile: int) -> None:
    _instruction("tilezero", _number(tile))


def load(tile: int, buffer: Buffer, offset: Expr, pitch: int) -> None:
    """The rows of ``tile`` from ``offset`` bytes into ``buffer``, ``pitch`` bytes apart."""
    _transfer("tileloadd64", tile, buffer, offset, pitch)


def store(tile: int, buffer: Buffer, offset: Expr, pitch: int) -> None:
    """The rows of ``tile`` to ``offset`` bytes into ``buffer``, ``pitch`` bytes apart."""
    _transfer("tilestored64", tile, buffer, offset, pitch)


def multiply(product: TileProduct, c: int, a: int, b: int) -> None:
    """Tile ``c`` plus the product of tiles ``a`` and ``b``."""
    _instruction(product.name, _number(c), _number(a), _number(b))


def _transfer(name: str, tile: int, buffer: Buffer, offset: Expr, pitch: int) -> None:
    # The pointer, not the address of an element: TVM shrinks a buffer to the elements it sees.
    address = tir.handle_add_byte_offset(buffer.data, offset)
    _instruction(name, _number(tile), address, tir.const(pitch, "int64"))


def _number(tile: int) -> Expr:
    return tir.const(tile, "uint8")


def _instruction(name: str, *args: Expr) -> None:
    T.evaluate(tir.call_llvm_intrin("void", f"llvm.x86.{name}", *args))
