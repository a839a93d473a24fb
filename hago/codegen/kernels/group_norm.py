"""Normalization of groups of channels over a whole image, channels in the lanes.

    out[n, p, c] = epilogue((a[n, p, c] - mean_g) / sqrt(var_g + eps) * gamma[c] + beta[c])

Y. Wu and K. He, Group Normalization, arXiv 1803.08494, equations 1 to 3: the moments of a group are
those of all its channels at all pixels. A channel that is a group of its own is an instance
normalization. The image is read three times: for sums, for squares, for results. Its parts are
summed in parallel, the same parts whatever the number of threads, so that results are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen.access import divided, flat, load_operand, store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.product import arguments, kernel
from hago.codegen.narrow import MOST, narrow
from hago.codegen.tile import pieces
from hago.codegen.workload import GroupNorm, Kernel, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs
_PARTS = 16  # of an image, summed each on its own
# Neighbouring vectors of a pixel: one alone waits for its own sum, and four pack their bytes.
_TOGETHER = MOST


@dataclass(frozen=True, eq=False)
class _Column:
    """``count`` channels from ``first``: a vector of each pixel."""

    first: Expr
    count: int


@dataclass(frozen=True, eq=False)
class _Part:
    """``pixels`` of an image from its pixel ``first``, the part ``number`` of all images."""

    number: Expr
    image: Expr
    first: Expr
    pixels: Expr


def build_group_norm(workload: GroupNorm, epilogue: Epilogue, machine: Machine) -> Kernel:
    """``func(data [n, .., c], gamma [c], beta [c], *operands, output)``."""
    types = [
        (workload.shape, workload.data),
        ((workload.channels,), "float32"),
        ((workload.channels,), "float32"),
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    with kernel("group_norm") as builder:
        buffers = [flat(buffer) for buffer in arguments("data gamma beta", types)]
        data, gamma, beta, *operands, output = buffers
        means, factors = (_numbers(workload.shape[0] * workload.channels) for _ in range(2))
        emitter = _Emitter(workload, machine.lanes, epilogue, data, means, factors)
        emitter.moments()
        emitter.results(gamma, beta, operands, output)
    return Kernel(builder.get(), None, "group_norm")


def _numbers(count: int) -> Buffer:
    return T.alloc_buffer((count,), "float32")


@dataclass(frozen=True, eq=False)
class _Emitter:
    """``means`` and ``factors`` (one over the deviation) are of each channel of each image."""

    workload: GroupNorm
    lanes: int
    epilogue: Epilogue
    data: Buffer
    means: Buffer
    factors: Buffer

    def moments(self) -> None:
        """Finds means and factors."""
        work, epsilon = self.workload, tir.const(self.workload.epsilon, "float32")
        parts = _numbers(work.shape[0] * self._parts * work.channels)
        totals = _numbers(work.channels)
        share = tir.const(1.0 / (work.pixels * work.width), "float32")
        self._sums(parts, squared=False)
        self._to_groups(parts, totals, self.means, lambda total: total * share)
        self._sums(parts, squared=True)
        one = tir.const(1.0, "float32")
        self._to_groups(
            parts, totals, self.factors, lambda total: one / tir.sqrt(total * share + epsilon)
        )

    def results(
        self, gamma: Buffer, beta: Buffer, operands: Sequence[Buffer], output: Buffer
    ) -> None:
        """Writes what the epilogue makes of normalised pixels."""
        work, narrowing = self.workload, self.epilogue.narrowing

        def normalised(part: _Part, columns: Sequence[_Column]) -> None:
            means = self._of_image(self.means, part, columns)
            scales = [
                T.Bind(factor * vector(gamma, column.first, column.count))
                for factor, column in zip(
                    self._of_image(self.factors, part, columns), columns, strict=True
                )
            ]
            shifts = [T.Bind(vector(beta, column.first, column.count)) for column in columns]
            with T.serial(0, part.pixels) as offset:
                row = T.Bind(part.image * work.pixels + part.first + offset)

                def load(column: _Column) -> Callable[[int], Expr]:
                    return lambda i: load_operand(
                        operands[i], self.epilogue.operands[i], work.output_shape, row,
                        column.first, column.count,
                    )  # fmt: skip

                found = [
                    ((self._load(row, column) - mean) * scale + shift, load(column))
                    for column, mean, scale, shift in zip(
                        columns, means, scales, shifts, strict=True
                    )
                ]
                if narrowing is not None and len(columns) > 1:
                    codes = [self.epilogue.emit_codes(*each) for each in found]
                    packed = narrow(codes, narrowing.zero_point, narrowing.dtype, self.lanes)
                    written = [(packed, columns[0].first, self.lanes * len(columns))]
                else:
                    written = [
                        (self.epilogue.emit(*each), column.first, column.count)
                        for each, column in zip(found, columns, strict=True)
                    ]
                for value, first, count in written:
                    store(output, value, row * work.channels + first, count)

        self._each_part(normalised)

    def _sums(self, parts: Buffer, *, squared: bool) -> None:
        """The sums over the pixels of each part into ``parts``: of what was loaded, or of squared
        differences from the means."""

        def summed(part: _Part, columns: Sequence[_Column]) -> None:
            means = self._of_image(self.means, part, columns) if squared else []
            totals = [_cleared(column.count) for column in columns]
            with T.serial(0, part.pixels) as offset:
                row = T.Bind(part.image * self.workload.pixels + part.first + offset)
                for number, (column, total) in enumerate(zip(columns, totals, strict=True)):
                    value = self._load(row, column)
                    if squared:
                        centred = T.Bind(value - means[number])
                        value = centred * centred
                    so_far = vector(total, 0, column.count)
                    store(total, so_far + value, 0, column.count)
            for column, total in zip(columns, totals, strict=True):
                place = part.number * self.workload.channels + column.first
                store(parts, vector(total, 0, column.count), place, column.count)

        self._each_part(summed)

    def _to_groups(
        self, parts: Buffer, totals: Buffer, results: Buffer, finish: Callable[[Expr], Expr]
    ) -> None:
        """``finish`` of the total of each group, for each of its channels into ``results``."""
        work = self.workload
        with T.serial(0, work.shape[0]) as image:

            def over_parts(columns: Sequence[_Column]) -> None:
                for column in columns:
                    total = _cleared(column.count)
                    with T.serial(0, self._parts) as part:
                        place = (image * self._parts + part) * work.channels + column.first
                        so_far = vector(total, 0, column.count)
                        more = vector(parts, place, column.count)
                        store(total, so_far + more, 0, column.count)
                    store(totals, vector(total, 0, column.count), column.first, column.count)

            self._each_column(over_parts)
            with T.serial(0, work.groups) as group:
                total = _cleared(1)
                with T.serial(0, work.width) as channel:
                    more = totals[group * work.width + channel]
                    T.buffer_store(total, total[0] + more, [0])
                result = T.Bind(finish(total[0]))
                with T.serial(0, work.width) as channel:
                    place = image * work.channels + group * work.width + channel
                    T.buffer_store(results, result, [place])

    def _each_part(self, body: Callable[[_Part, Sequence[_Column]], None]) -> None:
        """``body(part, columns)`` for all channels of all parts, parts in parallel."""
        pixels = self.workload.pixels
        with T.parallel(0, self.workload.shape[0] * self._parts) as number:
            image, part = divided(number, self._parts)
            first = T.Bind(part * self._size)
            count = T.Bind(tir.min(tir.const(pixels, "int32") - first, self._size))
            self._each_column(lambda columns: body(_Part(number, image, first, count), columns))

    def _each_column(self, body: Callable[[Sequence[_Column]], None]) -> None:
        """``body`` of neighbouring vectors, until all channels are in one."""
        channels, done = self.workload.channels, 0
        for counts in ([self.lanes] * _TOGETHER, [self.lanes]):
            width = sum(counts)
            if blocks := (channels - done) // width:
                with T.serial(0, blocks) as block:
                    start = T.Bind(done + block * width)
                    places = range(0, width, self.lanes)
                    body([_Column(start + place, self.lanes) for place in places])
            done += blocks * width
        for offset, count in pieces(channels - done):
            body([_Column(tir.const(done + offset, "int32"), count)])

    def _of_image(
        self, numbers: Buffer, part: _Part, columns: Sequence[_Column]
    ) -> Sequence[Expr]:
        start = part.image * self.workload.channels
        return [T.Bind(vector(numbers, start + each.first, each.count)) for each in columns]

    def _load(self, row: Expr, column: _Column) -> Expr:
        return vector(self.data, row * self.workload.channels + column.first, column.count)

    @property
    def _size(self) -> int:
        """Pixels of a part, but the last of an image."""
        return -(-self.workload.pixels // _PARTS)

    @property
    def _parts(self) -> int:
        """Parts of an image."""
        return -(-self.workload.pixels // self._size)


def _cleared(count: int) -> Buffer:
    total = _numbers(count)
    zero = tir.const(0.0, "float32")
    store(total, tir.Broadcast(zero, count) if count > 1 else zero, 0, count)
    return total
