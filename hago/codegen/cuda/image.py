"""The rows of an implicit matrix: windows of an image (``Window`` in include/hago/window.cuh)."""

from __future__ import annotations

import math
from dataclasses import dataclass

_PIECES = (16, 8, 4, 2, 1)  # bytes that are loaded at once


@dataclass(frozen=True)
class Image:
    """An NHWC image of bytes and the windows in it: a row is what one window covers, tap after tap.

    ``pixel`` and ``run`` are bytes: of all channels, and of those that one group reads.
    """

    rows: int
    out_h: int
    out_w: int
    in_h: int
    in_w: int
    pixel: int
    run: int
    taps: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    fill: int = 0
    group_pitch: int = 0

    @property
    def depth(self) -> int:
        """Bytes of a row of A."""
        return math.prod(self.taps) * self.run

    @property
    def piece(self) -> int:
        """The most bytes that every run, and every place of one, is a multiple of."""
        return next(p for p in _PIECES if self.run % p == 0 and self.pixel % p == 0)

    def constants(self) -> dict[str, int]:
        return {
            "ROWS": self.rows, "OUT_H": self.out_h, "OUT_W": self.out_w, "IN_H": self.in_h,
            "IN_W": self.in_w, "PIXEL": self.pixel, "RUN": self.run,
            "TAPS": math.prod(self.taps), "TAPS_W": self.taps[1],
            "STRIDE_H": self.strides[0], "STRIDE_W": self.strides[1],
            "DILATION_H": self.dilation[0], "DILATION_W": self.dilation[1],
            "TOP": self.padding[0], "LEFT": self.padding[1], "PADDED": int(any(self.padding)),
            "GROUP_PITCH": self.group_pitch, "FILL": self.fill % 256 if any(self.padding) else 0,
            "DEPTH": self.depth, "PIECE": self.piece,
        }  # fmt: skip
