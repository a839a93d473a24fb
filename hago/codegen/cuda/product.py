"""Convolutions and matrix products on tensor cores: the geometry of include/hago/product.cuh.

    out[row, channel] = epilogue(sum_k A[row, k] B[channel, k])

A row is the window of an output pixel, gathered from the NHWC image while it is multiplied; B is
``[groups, channels, depth]``, the OHWI weights as they are, padded with zeros to whole tiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hago.codegen.cuda.device import Device
from hago.codegen.cuda.shell import Body, Launch, build_shell, constants
from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import PROVEN, Array, Conv2d, Kernel, Matmul
from hago.scheme import BFLOAT16_ARRAY

DEPTH_TILE = 64  # bytes of a row in a stage
_PIECES = (16, 8, 4, 2, 1)  # bytes that are loaded at once

# The element types of products by the dtypes of A and B: the name in include/hago/mma.cuh, and what
# the instruction's name ends with in specifications.
TYPES: dict[tuple[str, str], tuple[str, str]] = {
    ("int8", "int8"): ("S8", ".s8"),
    ("uint8", "int8"): ("U8S8", ".s8"),
    ("bfloat16", "bfloat16"): ("BF16", ".bf16"),
    ("float8_e4m3fn", "float8_e4m3fn"): ("E4M3", ".e4m3"),
}


@dataclass(frozen=True)
class Image:
    """An NHWC image of bytes and the windows in it: see ``Window`` in include/hago/product.cuh.

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
            "FILL": self.fill % 256, "DEPTH": self.depth, "PIECE": self.piece,
        }  # fmt: skip


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


# From the largest: more sums for each byte that is loaded, but fewer blocks.
TILES = (
    (128, 128, 64, 32),
    (128, 64, 32, 32),
    (64, 64, 32, 32),
    (64, 32, 32, 16),
    (32, 32, 16, 16),
    (16, 32, 16, 16),
)
# With fewer blocks than this, multiprocessors stay idle (an A100 has 108, a T4 40).
_BLOCKS = 96


def choose_tile(rows: int, channels: int, groups: int, device: Device) -> Tile:
    """The largest tile that wastes little and gives blocks to all multiprocessors."""
    stages = 4 if device.copies_in_background else 2
    fitting = [t for t in TILES if _waste(rows, t[0]) * _waste(channels, t[1]) <= _LEAST_WASTE]
    candidates = fitting or [TILES[-1]]
    for shape in candidates:
        if groups * -(-rows // shape[0]) * -(-channels // shape[1]) >= _BLOCKS:
            return Tile(*shape, stages)
    return Tile(*candidates[-1], stages)


_LEAST_WASTE = 1.34


def _waste(extent: int, size: int) -> float:
    """Padded by needed."""
    return -(-extent // size) * size / extent


def multiplies(workload: Conv2d | Matmul, device: Device) -> bool:
    """Whether a row of the specification names an instruction for these elements."""
    ending = TYPES.get((workload.data, PROVEN.get(workload.weight, workload.weight)), ("", "?"))[1]
    return any(name.startswith("mma.") and name.endswith(ending) for name in device.instructions)


def build_matmul(workload: Matmul, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(data [m, k], packed weights, *operands, output [m, n])``."""
    size = _size(workload.data)
    depth = workload.k * size
    image = Image(workload.m, 1, 1, 1, 1, depth, depth)
    data = ("data", ((workload.m, workload.k), workload.data))
    return _build(
        "matmul", data, workload.weight, image, 1, workload.output_shape, epilogue, device,
        lambda weight: weight.T[None],
    )  # fmt: skip


def build_conv(workload: Conv2d, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(data [n,h,w,ci], packed weights, *operands, output [n,oh,ow,co])``."""
    size, groups = _size(workload.data), workload.groups
    n, oh, ow, co = workload.output_shape
    image = Image(
        rows=n * oh * ow, out_h=oh, out_w=ow, in_h=workload.h, in_w=workload.w,
        pixel=workload.ci * size, run=workload.ci // groups * size,
        taps=(workload.kh, workload.kw), strides=workload.strides, dilation=workload.dilation,
        padding=workload.padding, fill=workload.pad_code,
    )  # fmt: skip
    data = ("data", ((workload.n, workload.h, workload.w, workload.ci), workload.data))
    return _build(
        "conv2d", data, workload.weight, image, groups, workload.output_shape, epilogue, device,
        lambda weight: weight.reshape(groups, co // groups, -1),
    )  # fmt: skip


def _build(
    name: str,
    data: tuple[str, tuple[tuple[int, ...], str]],
    weight: str,
    image: Image,
    groups: int,
    shape: tuple[int, ...],
    epilogue: Epilogue,
    device: Device,
    as_columns: Callable[[Array], Array],
) -> Kernel:
    """The kernel; ``as_columns`` gives the weights as ``[groups, channels, elements]``."""
    channels, dtype = shape[-1] // groups, PROVEN.get(weight, weight)
    tile = choose_tile(image.rows, channels, groups, device)
    padded = -(-channels // tile.channels) * tile.channels
    depth = -(-image.depth // DEPTH_TILE) * DEPTH_TILE
    geometry = constants(
        "Geometry",
        {
            **image.constants(), "CHANNELS": channels, "CHANNELS_PADDED": padded,
            "DEPTH_PADDED": depth, "BM": tile.rows, "BN": tile.channels, "WM": tile.warp_rows,
            "WN": tile.warp_channels, "STAGES": tile.stages,
            "LANES": next(lanes for lanes in (4, 2, 1) if channels % lanes == 0),
        },
        {"Type": f"hago::{TYPES[data[1][1], dtype][0]}"},
    )  # fmt: skip
    blocks = groups * -(-image.rows // tile.rows) * (padded // tile.channels)
    body = Body(
        "product.cuh",
        geometry,
        "hago::product<Geometry>(data, weight, epilogue, shared);",
    )
    packed = (groups, padded, depth // _size(dtype))
    func = build_shell(
        name, [data, ("weight", (packed, dtype))], epilogue, shape,
        Launch(blocks, tile.threads, tile.shared), body,
    )  # fmt: skip
    return Kernel(func, lambda weight: pack(as_columns(weight), packed), name)


def pack(columns: Array, shape: tuple[int, int, int]) -> Array:
    """``[groups, channels, elements]`` padded with zeros to ``shape``."""
    packed = np.zeros(shape, columns.dtype)
    packed[:, : columns.shape[1], : columns.shape[2]] = columns
    return packed


def _size(dtype: str) -> int:
    return BFLOAT16_ARRAY.itemsize if dtype == "bfloat16" else np.dtype(dtype).itemsize
