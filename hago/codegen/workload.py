"""What a kernel computes, apart from its epilogue: shapes, dtypes and geometry, as frozen data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import tirx as tir

from hago.codegen.epilogue import Epilogue

Array = npt.NDArray[Any]
# Weights whose values are proven: all are in -8..7; or two products of neighbours with bytes fit
# int16, which takes -127..127 for signed bytes, and the bound of hago.pairs for unsigned ones.
PROVEN = {"int4": "int8", "int8_pairs": "int8"}
# Data that is summed in int32; "int4" are bytes that are proven to be -8..7.
CODES = ("uint8", "int8", "int4")


@dataclass(frozen=True)
class Conv2d:
    """Convolution, NHWC data ``[n, h, w, ci]`` with OHWI weights ``[co, kh, kw, ci / groups]``.

    ``padding`` is (top, left, bottom, right) and is filled with ``pad_code`` (the zero point of
    quantized data, 0 otherwise). ``accum`` is int32 for 8-bit operands, float32 otherwise:
    products of bfloat16 are exact in it. Weights "int4" for 8-bit floats have a scale a channel.
    """

    n: int
    h: int
    w: int
    ci: int
    co: int
    kh: int
    kw: int
    strides: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    data: str = "float32"
    weight: str = "float32"
    pad_code: int = 0

    @property
    def accum(self) -> str:
        return "int32" if self.data in CODES else "float32"

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        span_h = self.dilation[0] * (self.kh - 1) + 1
        span_w = self.dilation[1] * (self.kw - 1) + 1
        top, left, bottom, right = self.padding
        return (
            self.n,
            (self.h + top + bottom - span_h) // self.strides[0] + 1,
            (self.w + left + right - span_w) // self.strides[1] + 1,
            self.co,
        )

    @property
    def is_depthwise(self) -> bool:
        return self.groups == self.ci == self.co and self.groups > 1


@dataclass(frozen=True)
class Matmul:
    """``[batch.., m, k] x [k, n]``: constant weights; ``batch`` is folded into ``m``."""

    m: int
    n: int
    k: int
    data: str = "float32"
    weight: str = "float32"

    @property
    def accum(self) -> str:
        return "int32" if self.data in CODES else "float32"

    @property
    def output_shape(self) -> tuple[int, int]:
        return self.m, self.n


@dataclass(frozen=True)
class GroupedMatmul:
    """``[m, k] x [k, n]`` of bytes, with a float32 scale [k / group, n] for each ``group`` rows of
    the constant weights: the float32 sum of the groups' integer products times their scales. Where
    data are 8-bit floats, weights ("int4") times their scales are rounded to such, and multiplied.
    """

    m: int
    n: int
    k: int
    group: int
    data: str = "uint8"
    weight: str = "int8"

    @property
    def groups(self) -> int:
        return self.k // self.group

    @property
    def accum(self) -> str:
        """What a group is summed in; the epilogue gets float32."""
        return "int32" if self.data in CODES else "float32"

    @property
    def output_shape(self) -> tuple[int, int]:
        return self.m, self.n


@dataclass(frozen=True)
class Strides:
    """Where matrices lie that are not one after another: matrix ``b`` of ``batch`` belongs to head
    ``b % heads`` of image ``b // heads``; the distances of images, heads, rows and columns in
    elements."""

    heads: int
    image: int
    head: int
    row: int
    column: int = 1

    @classmethod
    def packed(cls, rows: int, columns: int) -> Strides:
        """Of matrices that lie one after another."""
        return cls(1, rows * columns, 0, columns)

    def start(self, matrix: Any) -> Any:
        """The first element of ``matrix``, a number or an expression."""
        return matrix // self.heads * self.image + matrix % self.heads * self.head


@dataclass(frozen=True)
class BatchMatmul:
    """``[batch, m, k] x [batch, k, n]``: both operands are activations.

    Operands and result that have strides are flat in memory.
    """

    batch: int
    m: int
    n: int
    k: int
    data: str = "float32"
    weight: str = "float32"
    left: Strides | None = None
    right: Strides | None = None
    output: Strides | None = None

    @property
    def accum(self) -> str:
        return "int32" if self.data in CODES else "float32"

    @property
    def output_shape(self) -> tuple[int, int, int]:
        return self.batch, self.m, self.n

    @property
    def packed(self) -> BatchMatmul:
        """The same of matrices that lie one after another."""
        return replace(self, left=None, right=None, output=None)

    @property
    def left_memory(self) -> tuple[int, ...]:
        """The shape that the left operand has in memory."""
        return _memory((self.batch, self.m, self.k), self.left)

    @property
    def right_memory(self) -> tuple[int, ...]:
        return _memory((self.batch, self.k, self.n), self.right)

    @property
    def output_memory(self) -> tuple[int, ...]:
        return _memory(self.output_shape, self.output)


def _memory(shape: tuple[int, ...], strides: Strides | None) -> tuple[int, ...]:
    return shape if strides is None else (math.prod(shape),)


@dataclass(frozen=True)
class Pool2d:
    """Window reduction over NHWC ``[n, h, w, c]``: ``kind`` is "max" or "avg" (sum of the window,
    unscaled, in int32 for 8-bit data; the mean's divisor belongs to the epilogue)."""

    kind: str
    n: int
    h: int
    w: int
    c: int
    window: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    data: str = "float32"

    @property
    def accum(self) -> str:
        """A maximum keeps the dtype of codes, their sum is int32; floats become float32."""
        if self.data not in CODES:
            return "float32"
        return self.data if self.kind == "max" else "int32"

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        top, left, bottom, right = self.padding
        return (
            self.n,
            (self.h + top + bottom - self.window[0]) // self.strides[0] + 1,
            (self.w + left + right - self.window[1]) // self.strides[1] + 1,
            self.c,
        )


@dataclass(frozen=True)
class RowReduce:
    """What needs the whole of each row of ``[rows, length]``: ``kind`` is "softmax", "layer_norm",
    "rms_norm", "shifted_exp" (exp less the row's largest), or "sum", whose output is ``[rows, 1]``.

    Sums are of float32, bfloat16 or bytes (as int32), the others of float32.
    """

    kind: str
    rows: int
    length: int
    epsilon: float = 0.0
    data: str = "float32"

    @property
    def accum(self) -> str:
        return "int32" if self.data in CODES else "float32"

    @property
    def output_shape(self) -> tuple[int, int]:
        return self.rows, 1 if self.kind == "sum" else self.length

    @property
    def parameters(self) -> tuple[str, ...]:
        """The float32 vectors ``[length]`` that are read beside the rows."""
        return {"layer_norm": ("gamma", "beta"), "rms_norm": ("gamma",)}.get(self.kind, ())


@dataclass(frozen=True)
class GroupNorm:
    """Float32 images of ``shape`` [n, .., channels], normalised in ``groups`` of neighbouring
    channels over all pixels."""

    shape: tuple[int, ...]
    groups: int
    epsilon: float = 0.0
    data: str = "float32"
    accum: str = "float32"

    @property
    def channels(self) -> int:
        return self.shape[-1]

    @property
    def width(self) -> int:
        """Channels of a group."""
        return self.channels // self.groups

    @property
    def pixels(self) -> int:
        return math.prod(self.shape[1:-1])

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.shape


@dataclass(frozen=True)
class Elementwise:
    """The epilogue alone over a tensor of ``shape`` and dtype ``data``."""

    shape: tuple[int, ...]
    data: str = "float32"


@dataclass(frozen=True)
class Table:
    """A function from bytes ``data`` to bytes ``gives``, as its 256 values, over a tensor."""

    shape: tuple[int, ...]
    data: str
    gives: str

    @property
    def accum(self) -> str:
        return self.gives

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.shape


@dataclass(frozen=True)
class Permute:
    """Axes in another order: axis ``i`` of the output is axis ``axes[i]`` of the input."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]
    data: str = "float32"

    @property
    def accum(self) -> str:
        return self.data

    @property
    def output_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[axis] for axis in self.axes)

    @property
    def moves_last(self) -> bool:
        """Whether neighbours in memory do not stay neighbours."""
        return bool(self.axes) and self.axes[-1] != len(self.shape) - 1

    def stride(self, axis: int) -> int:
        """Elements between neighbours along an axis of the input."""
        return math.prod(self.shape[axis + 1 :])


@dataclass(frozen=True)
class Attention:
    """What four kernels compute, one behind another: ``scores`` of queries and keys, ``powers`` of
    their rows, ``totals`` of these, and ``contexts``, the products of powers and values.

    ``epilogues`` are those of the first three; operand ``total`` of the last one's are the totals.
    """

    scores: BatchMatmul
    powers: RowReduce
    totals: RowReduce
    contexts: BatchMatmul
    epilogues: tuple[Epilogue, Epilogue, Epilogue]
    total: int

    @property
    def before(self) -> tuple[tuple[BatchMatmul | RowReduce, Epilogue], ...]:
        """The first three with their epilogues."""
        first = (self.scores, self.powers, self.totals)
        return tuple(zip(first, self.epilogues, strict=True))

    @property
    def data(self) -> str:
        return self.scores.data

    @property
    def accum(self) -> str:
        return self.contexts.accum

    @property
    def output_shape(self) -> tuple[int, int, int]:
        return self.contexts.output_shape


Product = Conv2d | Matmul | GroupedMatmul | BatchMatmul
Workload = Product | Pool2d | RowReduce | GroupNorm | Elementwise | Table | Permute | Attention


@dataclass(frozen=True)
class Machine:
    """What a template may use: vector registers of ``vector_bytes``, and instruction names.

    ``instructions`` are the ``intrinsic`` fields of the specification's rows, e.g.
    ``{"vpdpbusd", "vfmadd"}``; ``registers`` is how many vector registers code can name.
    ``cycles`` is what a product of vectors takes where it is one instruction, and a load: half of
    one where two leave at once.
    """

    vector_bytes: int
    instructions: frozenset[str]
    registers: int = 32
    cycles: float = 0.5

    @property
    def lanes(self) -> int:
        """float32 or int32 lanes of one vector register."""
        return self.vector_bytes // 4


@dataclass(frozen=True, eq=False)
class Kernel:
    """A built template: ``func(data, packed_weight, *operands, output)`` and how to pack.

    ``pack`` turns the weights as the workload defines them into the constant that ``func``
    takes; it is None where there are no constant weights. ``pack_scales`` does the same for the
    scales of weights in groups.
    """

    func: tir.PrimFunc
    pack: Callable[[Array], Array] | None = None
    name: str = ""
    pack_scales: Callable[[Array], Array] | None = None


def convolve(workload: Conv2d, data: Array, weight: Array) -> Array:
    """The numpy meaning of :class:`Conv2d`, in its accumulator's dtype (float64 for floats)."""
    wide = np.int64 if workload.accum == "int32" else np.float64
    top, left, bottom, right = workload.padding
    padded = np.pad(
        data.astype(wide),
        ((0, 0), (top, bottom), (left, right), (0, 0)),
        constant_values=workload.pad_code,
    )
    n, oh, ow, co = workload.output_shape
    per_group_in, per_group_out = workload.ci // workload.groups, co // workload.groups
    out: Array = np.zeros((n, oh, ow, co), wide)
    for ky in range(workload.kh):
        for kx in range(workload.kw):
            y, x = ky * workload.dilation[0], kx * workload.dilation[1]
            window = padded[:, y :: workload.strides[0], x :: workload.strides[1]][:, :oh, :ow]
            for g in range(workload.groups):
                source = window[..., g * per_group_in : (g + 1) * per_group_in]
                target = slice(g * per_group_out, (g + 1) * per_group_out)
                out[..., target] += source @ weight[target, ky, kx].astype(wide).T
    return out.astype(np.int32) if workload.accum == "int32" else out
