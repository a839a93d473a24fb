"""How much of a product a block computes, and a warp of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hago.codegen.cuda.device import Device

DEPTH_TILE = 64  # bytes of a row in a stage


@dataclass(frozen=True)
class Tile:
    """A block's ``rows`` x ``channels``, a warp's part of it, and ``stages`` in shared memory."""

    rows: int
    channels: int
    warp_rows: int
    warp_channels: int
    stages: int

    @property
    def threads(self) -> int:
        return self.rows // self.warp_rows * (self.channels // self.warp_channels) * 32

    @property
    def shared(self) -> int:
        """Bytes: stages of both operands, or what 16 rows of each warp leave through."""
        staged = self.stages * (self.rows + self.channels) * DEPTH_TILE
        return max(staged, self.threads // 32 * 16 * (self.warp_channels + 8) * 4)


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
    for shape in candidates:
        if groups * -(-rows // shape[0]) * -(-channels // shape[1]) >= _BLOCKS:
            return Tile(*shape, stages)
    return Tile(*candidates[-1], stages)


def _waste(extent: int, size: int) -> float:
    """Padded by needed."""
    return -(-extent // size) * size / extent
