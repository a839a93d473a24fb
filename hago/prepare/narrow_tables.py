"""Tables of 4-bit codes, two to a byte, in place of float tables that rows are taken of.

    take(T, i)  =>  take(s, i) * codes(i) + take(b, i)              a scale and a bias for each row
    take(T, i)  =>  take(v, 16 i + codes(i))                        16 values for each row

    codes(i) = concat(B - 16 floor(B / 16), floor(B / 16)),  B = take(bytes, i)

A byte holds one code of each half of a row. The numbers of a row are float16: Guan et al.,
Post-Training 4-bit Quantization on Embedding Tables, arXiv 1911.02079.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tvm import ir, relax

from hago.dataflow import Dataflow, Node
from hago.rebuild import Values, emit, rebuild, substitute
from hago.scheme import Floats

op = relax.op
LEVELS = 16
Bytes = npt.NDArray[np.uint8]
Halves = npt.NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class RowTable:
    """``codes`` uint8 [rows, width], below 16, times ``scale`` plus ``bias``, float16 [rows]."""

    codes: Bytes
    scale: Halves
    bias: Halves

    def decode(self) -> Floats:
        """The table, float32 [rows, width]."""
        scale, bias = (each.astype(np.float32)[:, None] for each in (self.scale, self.bias))
        return (self.codes.astype(np.float32) * scale + bias).astype(np.float32)

    def read(self, builder: relax.BlockBuilder, rows: relax.Expr, codes: relax.Expr) -> relax.Expr:
        """The call that gives the rows ``rows``, whose ``codes`` are int32 [.., width]."""
        scale, bias = (
            _float32(builder, _taken(builder, each[:, None], rows))
            for each in (self.scale, self.bias)
        )
        return op.add(builder.emit(op.multiply(_float32(builder, codes), scale)), bias)


@dataclass(frozen=True, eq=False)
class CodebookTable:
    """``codes`` uint8 [rows, width], each the place of a value in ``values`` float16 [rows, 16]."""

    codes: Bytes
    values: Halves

    def decode(self) -> Floats:
        """The table, float32 [rows, width]."""
        return np.take_along_axis(self.values, self.codes, axis=1).astype(np.float32)

    def read(self, builder: relax.BlockBuilder, rows: relax.Expr, codes: relax.Expr) -> relax.Expr:
        """The call that gives the rows ``rows``, whose ``codes`` are int32 [.., width]."""
        wide = builder.emit(op.expand_dims(builder.emit(op.astype(rows, "int32")), -1))
        first = builder.emit(op.multiply(wide, relax.const(np.int32(LEVELS))))
        places = builder.emit(op.add(codes, first))
        return op.astype(_taken(builder, self.values.reshape(-1), places), "float32")


Table = RowTable | CodebookTable


def float_tables(dataflow: Dataflow, fewest: int) -> dict[str, Floats]:
    """Constant float32 tables [rows, even width] of ``fewest`` rows or more, by the operations that
    take rows of them."""
    return {
        node.name: node.constants[0]
        for node in dataflow.nodes
        if _takes_rows(node) and len(node.constants[0]) >= fewest
    }


def _takes_rows(node: Node) -> bool:
    table = node.constants.get(0) if node.op == "take" else None
    if table is None or table.ndim != 2 or table.dtype != np.float32 or table.shape[1] % 2:
        return False
    axis = node.call.attrs.axis
    return axis is not None and int(axis) % 2 == 0


def narrow_tables(module: ir.IRModule, tables: Mapping[str, Table]) -> ir.IRModule:
    """``module`` with ``tables`` for those of :func:`float_tables`; other names stay."""

    def rewrite(builder: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        call = substitute(binding.value, values)
        table = tables.get(str(binding.var.name))
        if table is None:
            return call
        rows = call.args[1]
        return table.read(builder, rows, _codes(builder, table.codes, rows))

    return rebuild(module, rewrite)


def _codes(builder: relax.BlockBuilder, codes: Bytes, rows: relax.Expr) -> relax.Expr:
    """The codes of ``rows``, int32 [.., width]."""
    half = codes.shape[1] // 2
    packed = (codes[:, :half] | codes[:, half:] << 4).astype(np.uint8)
    taken = builder.emit(op.astype(_taken(builder, packed, rows), "int32"))
    levels = relax.const(np.int32(LEVELS))
    high = builder.emit(op.floor_divide(taken, levels))
    low = builder.emit(op.subtract(taken, builder.emit(op.multiply(high, levels))))
    return builder.emit(op.concat([low, high], axis=-1))


def _taken(
    builder: relax.BlockBuilder, table: npt.NDArray[np.generic], rows: relax.Expr
) -> relax.Expr:
    constant = relax.const(np.ascontiguousarray(table))
    return emit(builder, op.take(constant, rows, axis=0, mode="wrap"), "rows")


def _float32(builder: relax.BlockBuilder, value: relax.Expr) -> relax.Expr:
    return builder.emit(op.astype(value, "float32"))
