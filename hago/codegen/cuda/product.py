"""Convolutions and matrix products on tensor cores: the geometry of include/hago/product.cuh.

    out[row, channel] = epilogue(sum_k A[row, k] B[channel, k])

A row is the window of an output pixel, gathered from the NHWC image while it is multiplied; B is
``[groups, channels, depth]``, the OHWI weights as they are, padded with zeros to whole tiles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hago.codegen.cuda.device import Device
from hago.codegen.cuda.image import Image
from hago.codegen.cuda.operations import C_TYPES
from hago.codegen.cuda.shell import Body, Launch, Type, build_shell, constants, lanes_of
from hago.codegen.cuda.tile import (
    DEPTH_TILE,
    FLOAT_TILE,
    TILES,
    Tile,
    choose_group_tile,
    choose_tile,
)
from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import (
    PROVEN,
    Array,
    BatchMatmul,
    Conv2d,
    GroupedMatmul,
    Kernel,
    Matmul,
)
from hago.scheme import BFLOAT16_ARRAY

_STEP, _CHUNK = 32, 16  # bytes of a row that one instruction takes, and that a thread stores
_FLOAT8 = "float8_e4m3fn"
# Bytes of depth after which sums of fp8 join those of float32, where tensor cores keep few bits of
# them (DeepSeek-V3, arXiv 2412.19437, section 3.3.2).
_PROMOTED = 128

# The element types of products by the dtypes of A and B: the name in include/hago/mma.cuh, and what
# the instruction's name ends with in specifications.
TYPES: dict[tuple[str, str], tuple[str, str]] = {
    ("int8", "int8"): ("S8", ".s8"),
    ("uint8", "int8"): ("U8S8", ".s8"),
    ("int4", "int4"): ("S4", ".s4"),
    ("bfloat16", "bfloat16"): ("BF16", ".bf16"),
    (_FLOAT8, _FLOAT8): ("E4M3", ".e4m3"),
}


def multiplies(
    workload: Conv2d | Matmul | BatchMatmul | GroupedMatmul, device: Device
) -> bool:
    """Whether a row of the specification names an instruction for these elements. Codes of 4 bits
    are bytes in memory; weights are packed."""
    return device.has("mma", _ending(workload.data, workload.weight))


def multiplies_floats(workload: Conv2d | Matmul | BatchMatmul, device: Device) -> bool:
    """Whether it is a product of float32."""
    return workload.data == workload.weight == "float32"


def build_matmul(workload: Matmul, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(data [m, k], packed weights, *operands, output [m, n])``."""
    depth = workload.k * size_of(stored(workload.data))
    product = Product(
        name="matmul",
        data=((workload.m, workload.k), workload.data),
        weight=workload.weight,
        image=Image(workload.m, 1, 1, 1, 1, depth, depth),
        channels=workload.n,
        as_columns=lambda weight: weight.T[None],
    )
    return product.build(workload.output_shape, epilogue, device)


def multiplies_groups(workload: GroupedMatmul, device: Device) -> bool:
    """Whether groups of rows are whole steps of an instruction; or, of weights that become 8-bit
    floats first, whole chunks."""
    if workload.data == _FLOAT8:
        is_able = workload.weight == "int4" and device.has("mma", _ending(_FLOAT8, _FLOAT8))
        return is_able and workload.group % _CHUNK == 0
    return multiplies(workload, device) and workload.group % _STEP == 0


def build_grouped_matmul(workload: GroupedMatmul, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(data [m, k], scales [groups, n], packed weights, *operands, output [m, n])``.

    Weights for 8-bit floats are rounded to these times their scales; others are multiplied, and the
    scales multiply the sums of groups.
    """
    decodes = workload.data == _FLOAT8
    product = Product(
        name="decoded_matmul" if decodes else "grouped_matmul",
        data=((workload.m, workload.k), workload.data),
        weight=_FLOAT8 if decodes else stored(workload.weight),
        image=Image(workload.m, 1, 1, 1, 1, workload.k, workload.k),
        channels=workload.n,
        as_columns=lambda weight: weight.reshape(workload.k, workload.n).T[None],
        scale_each=workload.group,
        decodes=decodes,
    )
    return product.build(workload.output_shape, epilogue, device)


def build_batch_matmul(workload: BatchMatmul, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(a [batch, m, k], b [batch, k, n], *operands, output [batch, m, n])``."""
    depth = workload.k * size_of(workload.data)
    pitch = workload.m * depth
    product = Product(
        name="batch_matmul",
        data=((workload.batch, workload.m, workload.k), workload.data),
        weight=stored(workload.weight),
        image=Image(workload.m, 1, 1, 1, 1, depth, depth, group_pitch=pitch),
        channels=workload.n,
        groups=workload.batch,
        group_rows=workload.m,
    )
    return product.build(workload.output_shape, epilogue, device)


def decodes_channels(workload: Conv2d, device: Device) -> bool:
    """Whether weights are nibbles that become 8-bit floats."""
    are_stored = (workload.data, workload.weight, workload.groups) == (_FLOAT8, "int4", 1)
    return are_stored and device.has("mma", _ending(_FLOAT8, _FLOAT8))


def build_conv(workload: Conv2d, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(data [n,h,w,ci], packed weights, *operands, output [n,oh,ow,co])``; in front of
    weights that become 8-bit floats are their scales [1, co]."""
    decodes = decodes_channels(workload, device)
    size, groups = size_of(stored(workload.data)), workload.groups
    n, oh, ow, co = workload.output_shape
    image = Image(
        rows=n * oh * ow, out_h=oh, out_w=ow, in_h=workload.h, in_w=workload.w,
        pixel=workload.ci * size, run=workload.ci // groups * size,
        taps=(workload.kh, workload.kw), strides=workload.strides, dilation=workload.dilation,
        padding=workload.padding, fill=workload.pad_code, group_pitch=workload.ci // groups * size,
    )  # fmt: skip
    product = Product(
        name="conv2d",
        data=((workload.n, workload.h, workload.w, workload.ci), workload.data),
        weight=_FLOAT8 if decodes else workload.weight,
        image=image,
        channels=co // groups,
        groups=groups,
        as_columns=lambda weight: weight.reshape(groups, co // groups, -1),
        scale_each=image.depth if decodes else 0,
        decodes=decodes,
    )
    return product.build(workload.output_shape, epilogue, device)


@dataclass(frozen=True, eq=False)
class Product:
    """``groups`` products, each of the rows of ``image`` and ``channels`` columns of ``weight``.

    ``as_columns`` gives constant weights as ``[groups, channels, elements]``; without it B is an
    activation ``[groups, elements, channels]``. A group's results are ``group_rows`` rows behind
    those of the one before; with none, they are beside them, in other channels. With ``scale_each``
    there is an argument "scales" [elements / scale_each, channels] in front of the weights, which
    are nibbles if it ``decodes`` them: they become elements on their way to shared memory.
    """

    name: str
    data: tuple[tuple[int, ...], str]
    weight: str
    image: Image
    channels: int
    groups: int = 1
    group_rows: int = 0
    as_columns: Callable[[Array], Array] | None = None
    scale_each: int = 0
    decodes: bool = False

    def build(self, shape: tuple[int, ...], epilogue: Epilogue, device: Device) -> Kernel:
        """The kernel, whose output has ``shape``."""
        is_float = self.data[1] == "float32"
        tile = FLOAT_TILE if is_float else self._tile(device)
        packed = self._packed(tile)
        call = "product_simt" if is_float else "product"
        body = Body(
            "simt.cuh" if is_float else "product.cuh",
            constants("Geometry", self._constants(tile, device), self._types(epilogue)),
            f"hago::{call}<Geometry>(data, weight, epilogue, shared"
            f"{', scales' if self.scale_each else ''});",
        )
        rows, columns = -(-self.image.rows // tile.rows), -(-self.channels // tile.channels)
        launch = Launch(self.groups * rows * columns, tile.threads, tile.shared)
        data = (self.data[0], stored(self.data[1]))
        held = "int8" if self.decodes else stored(self.weight)
        inputs = [("data", data), *self._scales(), ("weight", (packed, held))]
        func = build_shell(self.name, inputs, epilogue, shape, launch, body)
        columns_of, are_nibbles = self.as_columns, self._are_nibbles or self.decodes
        if columns_of is None:
            return Kernel(func, None, self.name)

        def packed_columns(weight: Array) -> Array:
            columns = columns_of(weight)
            return pack(nibbles(columns) if are_nibbles else columns, packed)

        return Kernel(func, packed_columns, self.name)

    @property
    def _are_nibbles(self) -> bool:
        return self.data[1] == "int4"

    @property
    def _depth(self) -> int:
        """Bytes of a column of B."""
        return -(-self.image.depth // 2) if self._are_nibbles else self.image.depth

    def _tile(self, device: Device) -> Tile:
        extents = self.image.rows, self.channels, self.groups
        tile = choose_group_tile(*extents) if self._multiplies_in_groups(device) else None
        # Totals take as many registers as sums.
        shapes = TILES[1:] if self._joined(device.sums_float8_in_few_bits) else TILES
        tile = tile or choose_tile(*extents, device, shapes)
        return tile if self._is_copied else replace(tile, stages=2)

    def _multiplies_in_groups(self, device: Device) -> bool:
        """Whether four warps may multiply together."""
        are_whole = self.decodes or not self.scale_each  # sums
        return are_whole and device.has("wgmma", _ending(self.data[1], self.weight))

    def _joined(self, keeps_few_bits: bool) -> int:
        """Bytes of depth whose sums join float32 totals; 0 where all are one sum. Of fp8 tensor
        cores may keep few bits."""
        if self.data[1] == _FLOAT8:
            return _PROMOTED if keeps_few_bits else 0
        return self.scale_each

    @property
    def _is_copied(self) -> bool:
        """Whether tiles are copied to shared memory as they are."""
        return self.as_columns is not None and not self._are_nibbles and not self.decodes

    def _scales(self) -> list[tuple[str, Type]]:
        if not self.scale_each:
            return []
        return [("scales", ((self.image.depth // self.scale_each, self.channels), "float32"))]

    def _packed(self, tile: Tile) -> tuple[int, int, int]:
        """The shape of B as the kernel takes it."""
        size = size_of(stored(self.weight))
        if self.as_columns is None:
            return self.groups, self.image.depth // size, self.channels
        channels = _padded(self.channels, tile.channels)
        return self.groups, channels, _padded(self._depth, DEPTH_TILE) // size // (1 + self.decodes)

    def _constants(self, tile: Tile, device: Device) -> dict[str, int]:
        joined = self._joined(tile.in_groups or device.sums_float8_in_few_bits)
        in_background = device.copies_in_background and self._is_copied
        return {
            **self.image.constants(), "CHANNELS": self.channels,
            "CHANNELS_PADDED": _padded(self.channels, tile.channels),
            "DEPTH_PADDED": _padded(self._depth, DEPTH_TILE), "NIBBLES": int(self._are_nibbles),
            "ELEMENT": size_of(stored(self.weight)), "PACKED": int(self.as_columns is not None),
            "GROUP_ROWS": self.group_rows,
            "GROUP_CHANNELS": 0 if self.group_rows else self.channels,
            "BM": tile.rows, "BN": tile.channels, "WM": tile.warp_rows, "WN": tile.warp_channels,
            "STAGES": tile.stages, "IN_BACKGROUND": int(in_background),
            "LANES": lanes_of(self.channels, 4), "IN_GROUPS": int(tile.in_groups),
            "GROUP": joined, "SCALED": int(self.scale_each > 0 and not self.decodes),
            "DECODED": self.scale_each if self.decodes else 0,
        }  # fmt: skip

    def _types(self, epilogue: Epilogue) -> dict[str, str]:
        name = TYPES.get(_elements(self.data[1], self.weight))
        types = {"Result": C_TYPES[epilogue.accumulator]}
        return types if name is None else {"Type": f"hago::{name[0]}", **types}


def pack(columns: Array, shape: tuple[int, int, int]) -> Array:
    """``[groups, channels, elements]`` padded with zeros to ``shape``."""
    packed = np.zeros(shape, columns.dtype)
    packed[:, : columns.shape[1], : columns.shape[2]] = columns
    return packed


def nibbles(columns: Array) -> Array:
    """Codes -8..7 ``[.., elements]`` (int8), two in a byte, the first in the lower half."""
    odd = columns.shape[-1] % 2
    whole = np.pad(columns, [(0, 0)] * (columns.ndim - 1) + [(0, odd)])
    return (whole[..., ::2] & 15 | whole[..., 1::2] << 4).astype(np.int8)


def _elements(data: str, weight: str) -> tuple[str, str]:
    """What is multiplied: nibbles where both have 4 bits."""
    return (data, weight if data == "int4" else stored(weight))


def _ending(data: str, weight: str) -> str:
    """How the names of the instructions end that multiply these elements."""
    return TYPES.get(_elements(data, weight), ("", "?"))[1]


def stored(dtype: str) -> str:
    """The dtype in memory of codes of which more may be proven."""
    return PROVEN.get(dtype, dtype)


def size_of(dtype: str) -> int:
    """Bytes of an element."""
    return BFLOAT16_ARRAY.itemsize if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _padded(extent: int, multiple: int) -> int:
    return -(-extent // multiple) * multiple
