"""Squares of outputs of a 3x3 convolution, and their transformed inputs in scratch memory.

    inputs[tile, point, square of the tile, ci] = (B' x B)[point]

``x`` are the inputs of a square, of which its right and lower neighbours read two columns and rows
again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import divided, store, vector
from hago.codegen.blocking import Extents
from hago.codegen.intrin.dot import Dot
from hago.codegen.winograd import Transform
from hago.codegen.workload import Conv2d, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs


@dataclass(frozen=True)
class Squares:
    """``high`` x ``wide`` squares for each image of a workload."""

    workload: Conv2d
    transform: Transform
    high: int
    wide: int

    @classmethod
    def of(cls, workload: Conv2d, transform: Transform) -> Squares:
        (_, oh, ow, _), size = workload.output_shape, transform.outputs
        return cls(workload, transform, -(-oh // size), -(-ow // size))

    @property
    def count(self) -> int:
        return self.workload.n * self.high * self.wide

    @property
    def are_whole(self) -> bool:
        """Whether all outputs of all squares are there."""
        _, oh, ow, _ = self.workload.output_shape
        return oh % self.transform.outputs == ow % self.transform.outputs == 0

    def extents(self, dot: Dot, lanes: int) -> Extents:
        """Of one of the products."""
        ci, co = self.workload.ci, self.workload.co
        return Extents(
            outer=1,
            width=self.count,
            vectors=co // lanes,
            steps=ci // dot.depth,
            data_bytes=self.count * ci * np.dtype(dot.data).itemsize,
            weight_bytes=co * ci * np.dtype(dot.weight).itemsize,
        )

    def place(self, square: Expr) -> tuple[Expr, Expr, Expr]:
        """Image, row and column of ``square`` among squares."""
        line, x = divided(square, self.wide)
        image, y = divided(line, self.high)
        return image, y, x


def elements(dot: Dot, machine: Machine) -> int:
    """Of transformed inputs in a vector."""
    return machine.vector_bytes // np.dtype(dot.data).itemsize


@dataclass(frozen=True, eq=False)
class Inputs:
    """Reads ``data`` (flat, NHWC) and writes ``target``, ``width`` channels at once."""

    squares: Squares
    data: Buffer
    target: Buffer
    dtype: str
    width: int

    def transform(self, square: Expr, start: Expr, pitch: int) -> None:
        """The inputs of ``square`` to ``start``, points ``pitch`` elements apart."""
        corner = _Corner.of(self.squares, square)
        with T.If(corner.is_inside):
            with T.Then():
                self._channels(lambda i, j, at: self._load(corner, i, j, at), start, pitch)
            with T.Else():
                self._channels(lambda i, j, at: self._guarded(corner, i, j, at), start, pitch)

    def _channels(
        self, load: Callable[[int, int, Expr], Expr], start: Expr, pitch: int
    ) -> None:
        transform = self.squares.transform
        size = range(transform.inputs)
        with T.serial(0, self.squares.workload.ci // self.width) as step:
            channel = T.Bind(step * self.width)
            x = [[T.Bind(load(i, j, channel)) for j in size] for i in size]
            points = [point for line in transform.of_input(x) for point in line]
            for number, point in enumerate(points):
                store(self.target, point, start + channel + number * pitch, self.width)

    def _load(self, corner: _Corner, i: int, j: int, channel: Expr) -> Expr:
        workload = self.squares.workload
        address = corner.address + (i * workload.w + j) * workload.ci + channel
        return v.cast(vector(self.data, address, self.width), self.dtype)

    def _guarded(self, corner: _Corner, i: int, j: int, channel: Expr) -> Expr:
        loaded = self._load(corner, i, j, channel)
        padding = v.splat(self.squares.workload.pad_code, loaded, self.dtype)
        return tir.if_then_else(corner.has(i, j), loaded, padding)


@dataclass(frozen=True, eq=False)
class _Corner:
    """The first of a square's inputs: its row and column in the image (which padding may precede),
    where its channels lie, and whether all inputs of the square are in the image."""

    workload: Conv2d
    y: Expr
    x: Expr
    address: Expr
    is_inside: Expr

    @classmethod
    def of(cls, squares: Squares, square: Expr) -> _Corner:
        workload = squares.workload
        top, left, _, _ = workload.padding
        image, row, column = squares.place(square)
        outputs, inputs = squares.transform.outputs, squares.transform.inputs
        y, x = T.Bind(row * outputs - top), T.Bind(column * outputs - left)
        address = T.Bind(((image * workload.h + y) * workload.w + x) * workload.ci)
        inside = tir.all(y >= 0, y <= workload.h - inputs, x >= 0, x <= workload.w - inputs)
        return cls(workload, y, x, address, inside)

    def has(self, i: int, j: int) -> Expr:
        """Whether the input at row ``i`` and column ``j`` is in the image."""
        y, x = self.y + i, self.x + j
        return tir.all(y >= 0, y < self.workload.h, x >= 0, x < self.workload.w)


def scratch(tiles: int, rows: int, squares: Squares, dtype: str) -> Buffer:
    """Memory for the inputs of ``tiles`` tiles of ``rows`` squares."""
    points = squares.transform.points
    return T.alloc_buffer((tiles * points * rows * squares.workload.ci,), dtype)
