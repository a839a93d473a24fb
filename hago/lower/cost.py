"""What a kernel has to do at least: operations and bytes, kept as attributes of its PrimFunc."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx as tir

from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import (
    PROVEN,
    Attention,
    BatchMatmul,
    Conv2d,
    Elementwise,
    GroupedMatmul,
    GroupNorm,
    Matmul,
    Permute,
    Pool2d,
    RowReduce,
    Table,
    Workload,
)
from hago.lower.instructions import instructions_of, reduction_instructions

_WORKLOAD, _OPERATIONS, _DTYPE = "hago.workload", "hago.operations", "hago.dtype"
_EPILOGUE = "hago.epilogue"


@dataclass(frozen=True)
class Cost:
    """``workload`` in words, ``operations`` (a multiply-add is two), ``bytes`` of all arguments,
    each counted once, and the ``dtype`` of what is multiplied: of the data, and what is proven of
    weights. ``epilogue`` counts its vector instructions (and those of a reduction's passes) in
    elements: instructions times the output's elements.
    Functions of TVM's own have neither.
    """

    workload: str
    operations: int
    bytes: int
    dtype: str
    epilogue: int = 0


def with_cost(
    function: tir.PrimFunc, workload: Workload, epilogue: Epilogue
) -> tir.PrimFunc:
    """``function`` with what :func:`read_cost` needs to know of what it computes."""
    elements = math.prod(int(extent) for extent in function.params[-1].ty.shape)
    attributes = {
        _WORKLOAD: describe(workload),
        _OPERATIONS: str(operations(workload)),  # an integer attribute has 32 bits
        _EPILOGUE: str(instructions_of(epilogue) * elements + _between(workload)),
        _DTYPE: multiplied(workload.data, getattr(workload, "weight", "")),
    }
    return function.with_attrs(attributes)


def multiplied(data: str, weight: str) -> str:
    """``data``, with weights where their range is proven: some machines multiply them faster."""
    return f"{data} x {weight}" if weight in PROVEN else data


def _between(workload: Workload) -> int:
    """The same of what a workload computes beside its products and the last epilogue."""
    match workload:
        case RowReduce(kind=kind, rows=rows, length=length):
            return reduction_instructions(kind) * rows * length
        case GroupNorm(shape=shape):  # as a layer normalization
            return reduction_instructions("layer_norm") * math.prod(shape)
        case Attention(before=before):
            return sum(
                _between(part) + instructions_of(epilogue) * math.prod(part.output_shape)
                for part, epilogue in before
            )
        case _:
            return 0


def is_kernel(function: tir.PrimFunc) -> bool:
    """True for what a template built: its loops are written as they shall run."""
    return function.attrs is not None and _WORKLOAD in function.attrs


def read_cost(function: tir.PrimFunc) -> Cost:
    """The cost of a kernel; of any other PrimFunc its bytes alone."""
    attributes = function.attrs
    known = is_kernel(function)
    return Cost(
        str(attributes[_WORKLOAD]) if known else "",
        int(attributes[_OPERATIONS]) if known else 0,
        sum(_size(param.ty) for param in function.params if hasattr(param.ty, "shape")),
        str(attributes[_DTYPE]) if known else "float32",
        int(attributes[_EPILOGUE]) if known else 0,
    )


def _size(tensor: Any) -> int:
    """Bytes of a parameter's type (its class has no stubs)."""
    return math.prod(int(extent) for extent in tensor.shape) * np.dtype(str(tensor.dtype)).itemsize


def operations(workload: Workload) -> int:
    """Arithmetic operations of the loops, epilogue aside."""
    match workload:
        case Conv2d():
            window = workload.kh * workload.kw * workload.ci // workload.groups
            return 2 * math.prod(workload.output_shape) * window
        case Matmul() | GroupedMatmul():
            return 2 * workload.m * workload.n * workload.k
        case BatchMatmul():
            return 2 * workload.batch * workload.m * workload.n * workload.k
        case Pool2d():
            return math.prod(workload.output_shape) * math.prod(workload.window)
        case RowReduce():
            return workload.rows * workload.length
        case GroupNorm() | Elementwise() | Table():
            return math.prod(workload.shape)
        case Attention(scores=scores, contexts=contexts):
            return operations(scores) + operations(contexts)
        case Permute():
            return 0


def describe(workload: Workload) -> str:
    """``workload`` in a line, for tables."""
    match workload:
        case Conv2d(ci=ci, co=co, kh=kh, kw=kw, groups=groups):
            grouped = f", {groups} groups" if groups > 1 else ""
            stride = f" /{workload.strides[0]}" if max(workload.strides) > 1 else ""
            image = f"{workload.h}x{workload.w}x{ci} -> {co}"
            return f"{workload.data} {image}, {kh}x{kw}{stride}{grouped}"
        case Matmul(m=m, n=n, k=k):
            return f"{workload.data} {m}x{n}x{k}"
        case GroupedMatmul(m=m, n=n, k=k, group=group):
            return f"{workload.data} {m}x{n}x{k}, weights in groups of {group}"
        case BatchMatmul(batch=batch, m=m, n=n, k=k):
            return f"{workload.data} {batch} of {m}x{n}x{k}"
        case Attention(scores=BatchMatmul(batch=batch, m=m, n=n, k=k)):
            return f"{workload.data} attention, {batch} of {m}x{n}x{k}"
        case Pool2d(h=h, w=w, c=c, window=window):
            return f"{workload.data} {h}x{w}x{c}, {window[0]}x{window[1]}"
        case RowReduce(rows=rows, length=length):
            return f"{workload.data} {rows} rows of {length}"
        case GroupNorm(shape=shape) | Elementwise(shape=shape) | Table(shape=shape):
            return f"{workload.data} {'x'.join(map(str, shape))}"
        case Permute(shape=shape, axes=axes):
            return f"{workload.data} {'x'.join(map(str, shape))}, axes {axes}"
