"""A lowered module as a list of kernel calls on places in one block of memory.

Every value has a size that is known and a first and a last call that need it, so places are given
once and for all: values that are never alive together may share bytes. The largest come first,
each at the lowest address that is free while it lives.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from tvm import ir, relax

from hago.dataflow import constant_value, is_constant, tensor_type
from hago.errors import BuildError
from hago.scheme import Array

ALIGNMENT = 64  # bytes: what kernels expect of each tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """``offset`` is its place in the arena, or among the constants."""

    shape: Shape
    dtype: str
    offset: int
    is_constant: bool = False

    @property
    def size_bytes(self) -> int:
        return _size(self.shape, self.dtype)


@dataclass(frozen=True)
class StaticPlan:
    """``calls`` are names of kernels with their tensors, in order; ``arena_bytes`` of memory hold
    inputs, results, and all between them; ``constants`` are the bytes of weights."""

    calls: tuple[tuple[str, tuple[Tensor, ...]], ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    arena_bytes: int
    constants: bytes


@dataclass
class _Block:
    """Memory of one value: the calls (by number) at which it is first and last alive."""

    size: int
    first: int
    last: int


@dataclass(frozen=True)
class _Value:
    """A tensor in a block, or a constant at an offset."""

    shape: Shape
    dtype: str
    block: int = -1
    offset: int = 0


def static_plan(lowered: ir.IRModule) -> StaticPlan:
    """The plan of ``lowered``, whose ``main`` calls kernels and nothing else.

    Raises BuildError for an operation that is left for TVM's runtime.
    """
    walk = _Walk()
    main = lowered["main"]
    inputs = [walk.new(str(p.name), *tensor_type(p)) for p in main.params]
    for block in main.body.blocks:
        for binding in block.bindings:
            walk.values[str(binding.var.name)] = walk.value(binding.value)
    outputs = _flat(walk.value(main.body.body))
    for value in outputs:
        walk.use(value, len(walk.calls))
    places, total = place(walk.blocks)

    def tensor(value: _Value) -> Tensor:
        if value.block < 0:
            return Tensor(value.shape, value.dtype, value.offset, is_constant=True)
        return Tensor(value.shape, value.dtype, places[value.block])

    calls = ((name, tuple(map(tensor, arguments))) for name, arguments in walk.calls)
    return StaticPlan(
        tuple(calls), tuple(map(tensor, inputs)), tuple(map(tensor, outputs)), total,
        bytes(walk.constants),
    )  # fmt: skip


@dataclass
class _Walk:
    """What was seen of ``main`` so far."""

    values: dict[str, _Value | tuple[_Value, ...]] = field(default_factory=dict)
    blocks: list[_Block] = field(default_factory=list)
    calls: list[tuple[str, tuple[_Value, ...]]] = field(default_factory=list)
    constants: bytearray = field(default_factory=bytearray)
    known: dict[bytes, int] = field(default_factory=dict)

    def value(self, expr: relax.Expr) -> _Value | tuple[_Value, ...]:
        if isinstance(expr, relax.Var):
            return self.values[str(expr.name)]
        if is_constant(expr):
            return self.constant(constant_value(expr))
        if isinstance(expr, relax.Tuple):
            return tuple(self.tensor(each) for each in expr.fields)
        if isinstance(expr, relax.TupleGetItem):
            return _flat(self.value(expr.tuple_value))[expr.index]
        if isinstance(expr, relax.Call) and expr.op == ir.Op.get("relax.call_tir"):
            return self.call(expr)
        if isinstance(expr, relax.Call) and expr.op == ir.Op.get("relax.reshape"):
            source = self.tensor(expr.args[0])
            return _Value(*tensor_type(expr), source.block, source.offset)
        raise BuildError(
            f"no static object: '{getattr(expr, 'op', expr)}' needs TVM's runtime",
            fact="only kernels and reshapes can be called without it",
            way_out="Use the artifact's library.",
        )

    def tensor(self, expr: relax.Expr) -> _Value:
        (value,) = _flat(self.value(expr))
        return value

    def call(self, expr: relax.Call) -> _Value | tuple[_Value, ...]:
        """The results of a kernel, which are its last arguments."""
        number, results = len(self.calls), expr.ty
        arguments = [self.tensor(each) for each in expr.args[1].fields]
        for value in arguments:
            self.use(value, number)
        fields = results.fields if isinstance(results, ir.TupleType) else [results]
        found = tuple(
            self.new("", tuple(int(n) for n in each.shape), str(each.dtype)) for each in fields
        )
        self.calls.append((str(expr.args[0].name_hint), (*arguments, *found)))
        return found if len(found) > 1 else found[0]

    def new(self, name: str, shape: Shape, dtype: str) -> _Value:
        """A value that comes to be now."""
        now = len(self.calls)
        self.blocks.append(_Block(_size(shape, dtype), now, now))
        value = _Value(shape, dtype, len(self.blocks) - 1)
        if name:
            self.values[name] = value
        return value

    def use(self, value: _Value, call: int) -> None:
        if value.block >= 0:
            self.blocks[value.block].last = max(self.blocks[value.block].last, call)

    def constant(self, array: Array) -> _Value:
        """Equal bytes are held once."""
        raw = np.ascontiguousarray(array).tobytes()
        if raw not in self.known:
            self.constants.extend(bytes(-len(self.constants) % ALIGNMENT))
            self.known[raw] = len(self.constants)
            self.constants.extend(raw)
        return _Value(array.shape, str(array.dtype), offset=self.known[raw])


def place(blocks: list[_Block]) -> tuple[list[int], int]:
    """The offset of each block, and the bytes of all."""
    offsets = [0] * len(blocks)
    placed: list[int] = []
    for number in sorted(range(len(blocks)), key=lambda n: -blocks[n].size):
        own = blocks[number]
        together = [
            (offsets[other], offsets[other] + blocks[other].size)
            for other in placed
            if blocks[other].first <= own.last and own.first <= blocks[other].last
        ]
        offsets[number] = _lowest(own.size, sorted(together))
        placed.append(number)
    ends = [offset + block.size for offset, block in zip(offsets, blocks, strict=True)]
    return offsets, max(ends, default=0)


def _lowest(size: int, taken: Iterable[tuple[int, int]]) -> int:
    """Where ``size`` bytes fit between ``taken`` ranges, which are sorted."""
    offset = 0
    for start, end in taken:
        if offset + size <= start:
            break
        offset = max(offset, _aligned(end))
    return offset


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _size(shape: Shape, dtype: str) -> int:
    return math.prod(shape) * (2 if dtype == "bfloat16" else np.dtype(dtype).itemsize)


def _flat(value: _Value | tuple[_Value, ...]) -> tuple[_Value, ...]:
    return value if isinstance(value, tuple) else (value,)
