"""Bands: rows of an image, interleaved into words, that several output rows are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import store, vector
from hago.codegen.interleave import block_size, interleave
from hago.codegen.intrin.dot import Dot
from hago.codegen.tile import pieces
from hago.codegen.workload import Conv2d

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_MOST_OUTPUTS = 4
BLOCK = 64  # channels of a task: the words of a band stay in the first-level cache


@dataclass(frozen=True)
class Band:
    """``rows`` image rows, ``pitch`` apart, in ``groups`` of words, give ``outputs`` output rows.

    Output row ``r`` reads rows ``r * step`` to ``r * step + taps - 1`` of the band. ``width`` is
    the number of columns with padding, ``block`` the channels of a task.
    """

    outputs: int
    rows: int
    groups: int
    step: int
    pitch: int
    taps: int
    width: int
    block: int

    def reads(self, output: int, group: int, depth: int) -> bool:
        """Whether an output row has weights in a group of ``depth`` rows."""
        first = output * self.step
        return first // depth <= group <= (first + self.taps - 1) // depth


def choose_band(workload: Conv2d, dot: Dot, lanes: int) -> Band:
    """The band with the fewest instructions for an output vector."""
    bands = [band_of(workload, dot, outputs) for outputs in range(1, most_outputs(workload) + 1)]
    return min(bands, key=lambda band: _instructions(workload, band, dot, lanes))


def most_outputs(workload: Conv2d) -> int:
    """Output rows that a band may have: rows that lie apart are of one output alone."""
    return 1 if workload.dilation[0] > 1 else min(_MOST_OUTPUTS, workload.output_shape[1])


def band_of(workload: Conv2d, dot: Dot, outputs: int, block: int = BLOCK) -> Band:
    """The band that gives ``outputs`` output rows of ``block`` channels."""
    dilated, step = workload.dilation[0] > 1, workload.strides[0]
    rows = (outputs - 1) * step + workload.kh
    width = (workload.output_shape[2] - 1) * workload.strides[1]
    width += (workload.kw - 1) * workload.dilation[1] + 1
    return Band(
        outputs=outputs,
        rows=rows,
        groups=-(-rows // dot.depth),
        step=0 if dilated else step,
        pitch=workload.dilation[0],
        taps=workload.kh,
        width=width,
        block=block,
    )


def _instructions(workload: Conv2d, band: Band, dot: Dot, lanes: int) -> float:
    """Per output vector: an interleaved word costs 4 (in blocks) or 2 a row, and each dot one. The
    last band of an image may have fewer rows, and costs as much."""
    blocks = block_size(dot.depth, lanes, dot.depth) > lanes and workload.ci >= BLOCK
    word = 4 if blocks else 2 * dot.depth + 1
    words = band.groups * workload.strides[1] * word
    dots = workload.kw * sum(
        band.reads(output, group, dot.depth)
        for output in range(band.outputs)
        for group in range(band.groups)
    )
    height = workload.output_shape[1]
    return (words + dots) * -(-height // band.outputs) / height


def word_scratch(band: Band, lanes: int, count: int) -> Buffer:
    """Room for the words ``[vectors, groups, width, lanes]`` of ``count`` channels."""
    return T.alloc_buffer((-(-count // lanes) * band.groups * band.width * lanes,), "uint32")


def fill_words(
    workload: Conv2d,
    band: Band,
    dot: Dot,
    lanes: int,
    data: Buffer,
    words: Buffer,
    image: Expr,
    row: Expr,
    channel: Expr,
    count: int,
) -> None:
    """Write the words of the band whose first output is ``row``, of ``count`` channels from
    ``channel``."""
    filler = _Filler(workload, band, dot, lanes, data, image, channel)
    first = T.Bind(row * workload.strides[0] - workload.padding[0])
    filler.pad_columns(words, -(-count // lanes) * band.groups)
    last = first + (band.rows - 1) * band.pitch
    with T.If(tir.all(first >= 0, last < workload.h)):
        with T.Then():
            filler.fill(words, first, count, is_inside=True)
        with T.Else():
            filler.fill(words, first, count, is_inside=False)


@dataclass(frozen=True, eq=False)
class _Filler:
    workload: Conv2d
    band: Band
    dot: Dot
    lanes: int
    data: Buffer
    image: Expr
    channel: Expr

    def pad_columns(self, words: Buffer, lines: int) -> None:
        """The columns left and right of the image."""
        left, width = self.workload.padding[1], self.band.width
        right = min(left + self.workload.w, width)
        bits = 32 // self.dot.depth
        code = self.workload.pad_code & ((1 << bits) - 1)
        word = sum(code << (bits * i) for i in range(self.dot.depth))
        filler = tir.Broadcast(tir.const(word, "uint32"), self.lanes)
        if left == 0 and right == width:
            return
        with T.serial(0, lines) as line:
            for start, stop in ((0, left), (right, width)):
                for x in range(start, stop):
                    store(words, filler, (line * width + x) * self.lanes, self.lanes)

    def fill(self, words: Buffer, first: Expr, count: int, is_inside: bool) -> None:
        """The image's columns; rows outside of it only where not ``is_inside``."""
        left, width = self.workload.padding[1], self.band.width
        columns = min(self.workload.w, width - left)
        depth = self.dot.depth
        for group in range(self.band.groups):
            numbers = range(group * depth, min((group + 1) * depth, self.band.rows))
            rows = [self._row(first + number * self.band.pitch, is_inside) for number in numbers]
            block = block_size(depth, self.lanes, len(rows))
            with T.serial(0, columns) as x:
                for offset, size in _parts(count, block, self.lanes):
                    loaded = [self._load(row, x, offset, size) for row in rows]
                    for i, word in enumerate(interleave(loaded, depth, self.lanes)):
                        number, place = divmod(offset + i * self.lanes, self.lanes)
                        line = number * self.band.groups + group
                        index = (line * width + x + left) * self.lanes + place
                        store(words, word, index, v.dtype_of(word)[1])

    def _row(self, y: Expr, is_inside: bool) -> tuple[Expr, Expr | None]:
        """The element that row ``y`` starts at, and whether the row exists (None: it does)."""
        height, pitch = self.workload.h, self.workload.w * self.workload.ci
        start = self.image * height
        if is_inside:
            return T.Bind((start + y) * pitch + self.channel), None
        clamped = tir.max(tir.min(y, height - 1), 0)
        exists = T.Bind(tir.all(y >= 0, y < height))
        return T.Bind((start + clamped) * pitch + self.channel), exists

    def _load(self, row: tuple[Expr, Expr | None], x: Expr, offset: int, size: int) -> Expr:
        start, exists = row
        loaded = vector(self.data, start + x * self.workload.ci + offset, size)
        if self.workload.data == "int8":
            loaded = tir.reinterpret(f"uint8x{size}" if size > 1 else "uint8", loaded)
        if exists is not None:
            code = v.splat(self.workload.pad_code & 0xFF, loaded, "uint8")
            loaded = tir.Select(exists, loaded, code)
        return T.Bind(loaded)


def _parts(count: int, block: int, lanes: int) -> list[tuple[int, int]]:
    """(offset, size) of blocks, then vectors, then powers of two that cover ``count``."""
    found, offset = [], 0
    for size in (block, lanes):
        while count - offset >= size:
            found.append((offset, size))
            offset += size
    return found + [(offset + more, size) for more, size in pieces(count - offset)]
