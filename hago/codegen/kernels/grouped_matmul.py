"""Activation times constant weights in groups, a scale for each group of a column:

    out[m, n] = epilogue(sum_g scale[g, n] * float(sum_{k in g} a[m, k] * w[k, n]))

Integer sums of a group are exact; they join float32 totals that stay in registers. Weights of 4
bits stay packed up to the registers where there are few rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import flat, store, vector
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.dot import Dot
from hago.codegen.kernels.convert import as_dot_data
from hago.codegen.kernels.matmul_nibbles import (
    FEW_ROWS,
    nibbles_shape,
    nibbles_weight,
    pack_columns,
    rows_product,
)
from hago.codegen.kernels.product import (
    Multiply,
    arguments,
    emit_product,
    kernel,
    packed_shape,
    packed_weight,
    plain_multiply,
)
from hago.codegen.nibbles import accumulate_nibbles, in_pairs, pack_nibbles, takes_nibbles
from hago.codegen.select import choose_dot, has_dot
from hago.codegen.stream import Stream, fetch
from hago.codegen.tile import Source, cleared
from hago.codegen.workload import Array, GroupedMatmul, Kernel, Machine

Expr: TypeAlias = tir.Expr
Buffer: TypeAlias = Any  # tirx.Buffer: has no stubs


def multiplies_groups(workload: GroupedMatmul, machine: Machine) -> bool:
    """Whether :func:`build_grouped_matmul` can: groups are whole steps of the instruction."""
    return has_dot(workload, machine) and workload.group % choose_dot(workload, machine).depth == 0


def build_grouped_matmul(
    workload: GroupedMatmul, epilogue: Epilogue, machine: Machine
) -> Kernel:
    """``func(data [m, k], packed scales, packed weights, *operands, output [m, n])``."""
    form = _form(workload, machine)
    m, n, k = workload.m, workload.n, workload.k
    lanes = machine.lanes
    types = [
        ((m, k), workload.data),
        ((-(-n // lanes), workload.groups, lanes), "float32"),
        form.packed,
        *((operand.shape, operand.dtype) for operand in epilogue.operands),
        (workload.output_shape, epilogue.dtype),
    ]
    # A total and a sum for each vector of the tile.
    halved = replace(machine, registers=machine.registers // 2 + 2)
    with kernel("grouped_matmul") as builder:
        data, scales, weight, *operands, output = arguments("data scales weight", types)
        multiply = _Groups(workload, form, flat(scales), lanes).multiply
        product = rows_product(m, n, k)
        emit_product(
            product, form.geometry, halved, epilogue,
            as_dot_data(flat(data), (m, k), k, form.dot, workload.data),
            form.weights(weight, product, form.dot, lanes),
            [flat(operand) for operand in operands], flat(output), workload.output_shape, multiply,
        )  # fmt: skip
    return Kernel(
        builder.get(), form.pack, "grouped_matmul", lambda scales: _pack_scales(scales, lanes)
    )


@dataclass(frozen=True, eq=False)
class _Form:
    """How weights lie in memory: ``packed`` shape and dtype, ``steps`` vectors a group of what
    ``geometry`` says of one, and how a group is summed."""

    dot: Dot
    geometry: Dot
    packed: tuple[tuple[int, ...], str]
    pack: Callable[[Array], Array]
    weights: Callable[..., Any]
    steps: int
    sums: Multiply

    @property
    def blocks(self) -> int:
        """Steps of a group as they are summed, some at once."""
        return self.steps // self.geometry.words


def _form(workload: GroupedMatmul, machine: Machine) -> _Form:
    dot, lanes = choose_dot(workload, machine), machine.lanes
    product = rows_product(workload.m, workload.n, workload.k)
    steps = workload.group // dot.depth

    def pack(codes: Array) -> Array:
        return pack_columns(codes.reshape(workload.k, workload.n), dot, lanes)

    if workload.weight == "int4" and workload.m <= FEW_ROWS and takes_nibbles(dot, workload.group):
        return _Form(
            dot, in_pairs(dot), (nibbles_shape(product, dot, lanes), "uint8"),
            lambda codes: pack_nibbles(pack(codes), dot), nibbles_weight, steps // 2,
            lambda source, rows, columns, _: accumulate_nibbles(source, dot, rows, columns, lanes),
        )  # fmt: skip
    return _Form(
        dot, dot, (packed_shape(product, dot, lanes), dot.weight), pack, packed_weight, steps,
        plain_multiply(dot, lanes),
    )  # fmt: skip


def _pack_scales(scales: Array, lanes: int) -> Array:
    """``scales`` [groups, n] as ``[vectors, groups, lanes]``: what a tile reads is consecutive."""
    groups, n = scales.shape
    vectors = -(-n // lanes)
    padded = np.zeros((groups, vectors * lanes), np.float32)
    padded[:, :n] = scales
    return np.ascontiguousarray(padded.reshape(groups, vectors, lanes).transpose(1, 0, 2))


@dataclass(frozen=True, eq=False)
class _Groups:
    """The sum over groups of one tile."""

    workload: GroupedMatmul
    form: _Form
    scales: Buffer
    lanes: int

    def multiply(
        self, source: Source, rows: int, columns: int, first: Expr
    ) -> Sequence[Buffer]:
        """float32 totals of ``rows`` x ``columns`` vectors, from vector ``first`` on."""
        lanes, size, form = self.lanes, self.workload.group, self.form
        totals = cleared(rows * columns, "float32", lanes)
        vectors, groups = -(-self.workload.n // lanes), self.workload.groups
        with T.serial(0, groups) as group:
            part = replace(
                source,
                base=T.Bind(source.base + group * size),
                run=size,
                weight=lambda c, step: source.weight(c, group * form.steps + step),
                stream=self._stream(source.stream, group),
            )
            sums = form.sums(part, rows, columns, first)
            for column in range(columns):  # those of the next tile
                ahead = tir.min(first + columns + column, vectors - 1)
                fetch(tir.address_of(self.scales[(ahead * groups + group) * lanes]))
            for column in range(columns):
                place = ((first + column) * groups + group) * lanes
                scale = T.Bind(vector(self.scales, place, lanes))
                for row in range(rows):
                    number = row * columns + column
                    own = v.cast(vector(sums[number], 0, lanes), "float32") * scale
                    store(totals[number], vector(totals[number], 0, lanes) + own, 0, lanes)
        return totals

    def _stream(self, stream: Stream | None, group: Expr) -> Stream | None:
        """The part of a tile's fetches that belongs to ``group``, where that is a whole number."""
        if stream is None or self.form.blocks % stream.every:
            return None
        first = group * (self.form.blocks // stream.every)
        return replace(stream, fetch=lambda number, i: stream.fetch(first + number, i))
