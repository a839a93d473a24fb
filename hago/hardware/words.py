"""The words that a hardware specification is written in.

A specification is a Python file that imports only ``hago.hardware`` and binds one machine::

    from hago.hardware import machine, memory, op, f32, s8, s32, u8

    MACHINE = machine(
        "my-chip",
        target={"kind": "llvm", "mcpu": "cascadelake"},
        memory=memory(l1="32K", l2="1M"),
        ops=[
            op("conv2d", u8.asymmetric, s8.per_channel, sums_in=s32, gives=(u8,), by="vpdpbusd"),
        ],
    )

Every word checks itself where it is written: an error names the file and the line.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast, get_args

from hago.errors import SpecError
from hago.hardware.spec import (
    OPERATORS,
    Accumulator,
    Alignment,
    GranularityName,
    HardwareSpec,
    Memory,
    Operand,
    OpSupport,
    Origin,
    Requantize,
)
from hago.scheme import DType

# Instructions that hago has kernels or a numpy meaning for, by the manuals' mnemonics.
INTRINSICS: dict[str, str] = {
    "vpmaddubsw": "AVX2/AVX-512BW: pairs of u8 x s8 products, saturating int16",
    "vpmaddwd": "AVX2/AVX-512BW: pairs of s16 products, exact int32",
    "vpdpbusd": "AVX512_VNNI: four u8 x s8 products into int32",
    "tdpbusd": "AMX-INT8: 16x64 by 64x16 tiles of u8 x s8 into int32",
    "tdpbf16ps": "AMX-BF16: 16x32 by 32x16 tiles of bfloat16 into float32",
    "vdpbf16ps": "AVX512_BF16: pairs of bfloat16 products into float32",
    "vfmadd": "fused multiply-add of float32",
    "sdot": "Arm FEAT_DotProd: four s8 x s8 products into int32",
    "udot": "Arm FEAT_DotProd: four u8 x u8 products into uint32",
    "smmla": "Arm FEAT_I8MM: 2x8 by 8x2 s8 products into int32",
    "usmmla": "Arm FEAT_I8MM: 2x8 by 8x2 u8 x s8 products into int32",
    "bfmmla": "Arm FEAT_BF16: 2x4 by 4x2 bfloat16 products into float32",
    "smlal": "Arm Advanced SIMD: products of s16 added to int32",
    "sqrdmulh": "Arm Advanced SIMD: the upper half of a doubled s32 product, rounded",
    "tbl": "Arm Advanced SIMD: bytes looked up in a table of up to 64",
    "fmla": "Arm Advanced SIMD: fused multiply-add of float32",
    "dp4a": "PTX dp4a: four 8-bit products into int32",
    "mma.m8n8k16.s8": "PTX mma, sm_75: s8 tensor cores",
    "mma.m8n8k32.s4": "PTX mma, sm_75: s4 tensor cores",
    "mma.m16n8k32.s8": "PTX mma, sm_80: s8 tensor cores",
    "mma.m16n8k64.s4": "PTX mma, sm_80: s4 tensor cores",
    "mma.m16n8k16.bf16": "PTX mma, sm_80: bfloat16 tensor cores",
    "mma.m16n8k32.e4m3": "PTX mma, sm_89: fp8 tensor cores",
    "mme.e4m3": "Gaudi matrix multiplication engine in fp8",
    "mme.bf16": "Gaudi matrix multiplication engine in bfloat16",
    "fma.f32": "scalar or vector float32 multiply-add of an accelerator",
}

_ARITY = {"conv2d": 2, "depthwise_conv2d": 2, "matmul": 2, "batch_matmul": 2, "add": 2,
          "multiply": 2}  # fmt: skip
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclass(frozen=True)
class Element:
    """An element type as a word: ``u8.asymmetric``, ``s8.per_channel``, ``e4m3.stored_as(s4)``."""

    dtype: DType
    granularity: tuple[GranularityName, ...] = ("tensor",)
    zero_point: bool = False
    storage: DType | None = None

    @property
    def asymmetric(self) -> Element:
        """With a zero point."""
        if not self.dtype.is_integer:
            raise _error("asymmetric", f"{self.dtype} has no zero point", "Drop '.asymmetric'.")
        return replace(self, zero_point=True)

    @property
    def per_channel(self) -> Element:
        """With a scale for each output channel (a scale for the whole tensor is allowed too)."""
        return replace(self, granularity=("channel", "tensor"))

    @property
    def per_group(self) -> Element:
        """With a scale for each group of reduction elements (and whatever is coarser)."""
        return replace(self, granularity=("group", "channel", "tensor"))

    def stored_as(self, other: Element) -> Element:
        """Kept in memory as a narrower type than it is computed in."""
        if other.dtype.bits >= self.dtype.bits:
            raise _error("stored_as", f"{other.dtype} is not narrower than {self.dtype}",
                         "Store in fewer bits, or drop '.stored_as'.")  # fmt: skip
        return replace(self, storage=other.dtype)

    def operand(self) -> Operand:
        return Operand(self.dtype, self.granularity, self.zero_point, self.storage)


u8, u4 = Element(DType("uint", 8)), Element(DType("uint", 4))
s4, s7, s8 = (Element(DType("int", bits)) for bits in (4, 7, 8))
s16, s32 = Element(DType("int", 16)), Element(DType("int", 32))
f16, f32 = Element(DType("float", 16)), Element(DType("float", 32))
bf16 = Element(DType("bfloat", 16))
e4m3, e5m2 = Element(DType("float8_e4m3", 8)), Element(DType("float8_e5m2", 8))


@dataclass(frozen=True)
class Saturating:
    """An accumulator in which ``terms`` products meet and saturate."""

    element: Element
    terms: int


def saturating(element: Element, *, terms: int) -> Saturating:
    """``sums_in=saturating(s16, terms=2)``: vpmaddubsw's pairs."""
    if terms < 2:
        raise _error("saturating", f"{terms} products cannot meet", "Say terms=2 or more.")
    return Saturating(element, terms)


def op(
    names: str | Sequence[str],
    *inputs: Element,
    sums_in: Element | Saturating,
    gives: Iterable[Element],
    by: str,
    requantize: str = "float32",
    align: dict[str, int] | None = None,
    throughput: float = 0.0,
) -> tuple[OpSupport, ...]:
    """Rows: the machine computes ``names`` on ``inputs`` with the instruction ``by``.

    ``sums_in`` is the accumulator, ``gives`` the types a result can leave in, ``requantize`` how
    ("float32", "fixed_point", "shift"), ``align`` multiples of the reduction ``k``, output
    channels ``n`` and rows ``m``, ``throughput`` operations a cycle and core. Raises SpecError.
    """
    origin = _caller()
    listed = (names,) if isinstance(names, str) else tuple(names)
    for name in listed:
        _known(name, OPERATORS, "operator", origin)
    _known(by, INTRINSICS, "instruction", origin)
    _known(requantize, get_args(Requantize), "way to requantize", origin)
    outputs = tuple(element.dtype for element in gives)
    accum = _accumulator(sums_in)
    row = OpSupport(
        listed[0], tuple(i.operand() for i in inputs), outputs, accum,
        cast(Requantize, requantize), _alignment(align or {}, origin), by, throughput, origin,
    )  # fmt: skip
    rows = tuple(replace(row, op=name) for name in listed)
    for each in rows:
        _check_row(each)
    return rows


def memory(*, l1: str, l2: str, l3: str = "0K", bandwidth: float = 0.0) -> Memory:
    """Cache sizes a core ("48K", "2M") and bytes a cycle and core from memory."""
    return Memory(_size(l1), _size(l2), _size(l3), bandwidth)


def machine(
    name: str,
    *,
    target: dict[str, object],
    memory: Memory,
    ops: Iterable[tuple[OpSupport, ...]],
    needs: Iterable[str] = (),
    description: str = "",
) -> HardwareSpec:
    """The machine: TVM's ``target``, its rows in order of preference, the CPU features it needs."""
    origin = _caller()
    if "kind" not in target:
        raise _error(f"machine '{name}'", "its target has no 'kind'",
                     'Write target={"kind": "llvm", ...}.', origin)  # fmt: skip
    rows = tuple(row for group in ops for row in group)
    if not rows:
        raise _error(f"machine '{name}'", "it has no rows", "Add ops=[op(...), ...].", origin)
    _no_duplicates(name, rows)
    return HardwareSpec(name, target, rows, memory, tuple(needs), description)


def _caller() -> Origin:
    """File and line of the first frame outside of this module."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    return Origin(frame.f_code.co_filename, frame.f_lineno)


def _error(what: str, fact: str, way_out: str, origin: Origin | None = None) -> SpecError:
    return SpecError(what, fact=fact, source=str(origin or _caller()), way_out=way_out)


def _known(name: str, among: Iterable[str], kind: str, origin: Origin) -> None:
    known = list(among)
    if name in known:
        return
    close = difflib.get_close_matches(str(name), known, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(known)}."
    raise _error(f"'{name}'", f"no such {kind}", hint, origin)


def _accumulator(sums_in: Element | Saturating) -> Accumulator:
    if isinstance(sums_in, Saturating):
        return Accumulator(sums_in.element.dtype, saturates=True, terms=sums_in.terms)
    return Accumulator(sums_in.dtype)


def _alignment(align: dict[str, int], origin: Origin) -> Alignment:
    for key, value in align.items():
        _known(key, ("k", "n", "m"), "axis to align", origin)
        if value < 1:
            raise _error(f"align {key}={value}", "an alignment is at least 1",
                         "Write a positive multiple.", origin)  # fmt: skip
    return Alignment(**align)


def _check_row(row: OpSupport) -> None:
    """What a row says about itself must hold together."""
    arity = _ARITY.get(row.op, 1)
    if row.op not in ("concat",) and len(row.inputs) != arity:
        raise _error(f"row '{row.op}'", f"it has {len(row.inputs)} operands, not {arity}",
                     "Give one element type an operand.", row.origin)  # fmt: skip
    if not row.output:
        raise _error(f"row '{row.op}'", "its result leaves in no type",
                     "Say gives=(f32,) at least.", row.origin)  # fmt: skip
    integers = [operand.dtype.is_integer for operand in row.inputs]
    if any(integers) != row.accum.dtype.is_integer:
        raise _error(f"row '{row.op}'", f"{row.inputs[0].dtype} is summed in {row.accum.dtype}",
                     "Sum integers in integers and floats in floats.", row.origin)  # fmt: skip
    if row.requantize != "float32" and not row.accum.dtype.is_integer:
        raise _error(f"row '{row.op}'", f"{row.requantize} requantization of {row.accum.dtype}",
                     "Fixed point starts from an integer accumulator.", row.origin)  # fmt: skip
    if len(row.inputs) == 2 and all(integers):
        _check_width(row)


def _check_width(row: OpSupport) -> None:
    """One product must fit the accumulator, or the row must say that it saturates."""
    needed = sum(operand.dtype.bits for operand in row.inputs)
    if needed > row.accum.dtype.bits and not row.accum.saturates:
        raise _error(f"row '{row.op}'",
                     f"a product of {needed} bits does not fit {row.accum.dtype}",
                     "Widen sums_in, or say saturating(..., terms=N).", row.origin)  # fmt: skip


def _no_duplicates(name: str, rows: Sequence[OpSupport]) -> None:
    seen: dict[object, OpSupport] = {}
    for row in rows:
        key = (row.op, row.inputs, row.accum, row.intrinsic)
        if key in seen:
            first = f"the first is at {seen[key].origin}"
            raise _error(f"machine '{name}': two rows for {row}", first, "Remove one.", row.origin)
        seen[key] = row


def _size(text: str) -> int:
    digits, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not digits.isdigit():
        raise _error(f"size '{text}'", "it is not a number and K, M or G", "Write '48K' or '2M'.")
    return int(digits) * _UNITS[unit]
