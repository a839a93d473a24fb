"""How much of a product a block computes, and a warp of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hago.codegen.cuda.device import Device

DEPTH_TILE = 64  # bytes of a row in a stage
# Bytes of which tiles of groups begin at a multiple, and of which TVM's shared memory does.
_SWIZZLED, _ALIGNED = 512, 64


@dataclass(frozen=True)
class Tile:
    """A block's ``rows`` x ``channels``, a warp's part of it, and ``stages`` in shared memory.
    ``in_groups``: four warps multiply together, each a quarter of the rows."""

    rows: int
    channels: int
    warp_rows: int
    warp_channels: int
    stages: int
    in_groups: bool = False

    @property
    def threads(self) -> int:
        return self.rows // self.warp_rows * (self.channels // self.warp_channels) * 32

    @property
    def shared(self) -> int:
        """Bytes: stages of both operands, or what 16 rows of each warp leave through."""
        staged = self.stages * (self.rows + self.channels) * DEPTH_TILE
        leaving = self.threads // 32 * 16 * (self.warp_channels + 8) * 4
        return max(staged, leaving) + (_SWIZZLED - _ALIGNED if self.in_groups else 0)


Shape = tuple[int, int, int, int]
# From the largest: more sums for each byte that is loaded, but fewer blocks.
TILES: tuple[Shape, ...] = (
    (128, 128, 64, 32),
    (128, 64, 32, 32),
    (64, 64, 32, 32),
    (64, 32, 32, 16),
    (32, 32, 16, 16),
    (16, 32, 16, 16),
)
# The same of four warps together: 64 rows or 128, and all channels are each warp's.
GROUP_TILES: tuple[Shape, ...] = (
    (128, 128, 16, 128),
    (128, 64, 16, 64),
    (64, 64, 16, 64),
    (64, 32, 16, 32),
)
# What include/hago/simt.cuh computes by 256 threads, through 16 x (64 + 4) floats of each operand.
FLOAT_TILE = Tile(64, 64, 16, 32, 2)
_MOST_WASTE = 1.34  # padded by needed elements of the output
# With fewer blocks than this, multiprocessors stay idle (an A100 has 108, a T4 40).
_BLOCKS = 96


def choose_tile(
    rows: int, channels: int, groups: int, device: Device, shapes: Sequence[Shape] = TILES
) -> Tile:
    """The largest tile that wastes little and gives blocks to all multiprocessors."""
    stages = 4 if device.copies_in_background else 2
    fitting = [t for t in shapes if _waste(rows, t[0]) * _waste(channels, t[1]) <= _MOST_WASTE]
    candidates = fitting or [shapes[-1]]
    enough = [t for t in candidates if groups * _blocks(rows, t[0], channels, t[1]) >= _BLOCKS]
    return Tile(*(enough or candidates[-1:])[0], stages)


def choose_group_tile(rows: int, channels: int, groups: int) -> Tile | None:
    """The same of those that four warps multiply together; None where no tile does both."""
    for shape in GROUP_TILES:
        waste = _waste(rows, shape[0]) * _waste(channels, shape[1])
        blocks = groups * _blocks(rows, shape[0], channels, shape[1])
        if waste <= _MOST_WASTE and blocks >= _BLOCKS:
            return Tile(*shape, stages=4, in_groups=True)
    return None


def _blocks(rows: int, down: int, channels: int, across: int) -> int:
    return -(-rows // down) * -(-channels // across)


def _waste(extent: int, size: int) -> float:
    """Padded by needed."""
    return -(-extent // size) * size / extent
