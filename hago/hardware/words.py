"""The words that a hardware specification is written in.

A specification is a Python file that imports only ``hago.hardware`` and binds one machine::

    from hago.hardware import machine, memory, op, f32, s8, s32, u8

    MACHINE = machine(
        "my-chip",
        target={"kind": "llvm", "mcpu": "cascadelake"},
        memory=memory(l1="32K", l2="1M"),
        ops=[
            op("conv2d", u8.asymmetric, s8.per_channel, sums_in=s32, gives=(u8, f32),
               by="vpdpbusd"),
        ],
    )

Every word checks itself where it is written: an error names the file and the line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast, get_args

from hago.hardware import checks
from hago.hardware.contradictions import check_contradictions, check_memory, check_needs
from hago.hardware.intrinsics import INTRINSICS
from hago.hardware.spec import (
    OPERATORS,
    Accumulator,
    GranularityName,
    HardwareSpec,
    Memory,
    Operand,
    OpSupport,
    Requantize,
)
from hago.scheme import INT8, INT8_PAIRS, DType

_OPERAND = "an element type such as u8 or s8.per_channel"


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
        if not self.dtype.is_integer or self.dtype.paired:
            fact = f"{self.dtype} has no zero point"
            raise checks.error("asymmetric", fact, "Drop '.asymmetric'.")
        return replace(self, zero_point=True)

    @property
    def per_channel(self) -> Element:
        """With a scale for each output channel (a scale for the whole tensor is allowed too)."""
        return replace(self._scaled("per_channel"), granularity=("channel", "tensor"))

    @property
    def per_group(self) -> Element:
        """With a scale for each group of reduction elements (and whatever is coarser)."""
        return replace(self._scaled("per_group"), granularity=("group", "channel", "tensor"))

    @property
    def paired(self) -> Element:
        """Within the bound of :mod:`hago.pairs`: two products with unsigned bytes fit int16."""
        if self.dtype != INT8 or self.zero_point:
            what = f"{self.dtype}{' with a zero point' if self.zero_point else ''}"
            raise checks.error("paired", f"the bound is one of int8 weights, not of {what}",
                               "Write s8.paired, or drop '.paired'.")  # fmt: skip
        return replace(self, dtype=INT8_PAIRS)

    def stored_as(self, other: Element) -> Element:
        """Kept in memory as narrower signed integers than the 8-bit float it is computed in."""
        other = checks.expect(other, Element, "stored_as", "stored_as(s4)")
        if other.dtype.bits >= self.dtype.bits:
            raise checks.error("stored_as", f"{other.dtype} is not narrower than {self.dtype}",
                               "Store in fewer bits, or drop '.stored_as'.")  # fmt: skip
        if not self.dtype.kind.startswith("float8"):
            raise checks.error("stored_as", f"{self.dtype} is not computed from narrower codes",
                               "8-bit floats are: drop '.stored_as' (a user's --weight-bits "
                               "stores integers in fewer bits).")  # fmt: skip
        if other != Element(DType("int", other.dtype.bits)):
            raise checks.error("stored_as", "what is stored is a signed integer, and no more is "
                               "said of it: scales are of what it stands for",
                               "Write stored_as(s4).")  # fmt: skip
        return replace(self, storage=other.dtype)

    def operand(self) -> Operand:
        return Operand(self.dtype, self.granularity, self.zero_point, self.storage)

    def _scaled(self, word: str) -> Element:
        """Itself, if it has a scale at all."""
        if not self.dtype.is_quantized:
            raise checks.error(word, f"{self.dtype} has no scale", f"Drop '.{word}'.")
        return self


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
    checks.expect(element, Element, "saturating", "saturating(s16, terms=2)")
    if not element.dtype.is_integer:
        fact = f"sums of {element.dtype} do not saturate"
        raise checks.error("saturating", fact, "Say saturating(s16, terms=2).")
    if checks.expect(terms, int, "saturating: terms", "terms=2") < 2:
        raise checks.error("saturating", f"{terms} products cannot meet", "Say terms=2 or more.")
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
    listed = (names,) if isinstance(names, str) else names
    listed = checks.expect_all(listed, str, "the operators", '("conv2d", "matmul")')
    for name in listed:
        checks.known(name, OPERATORS, "operator")
    checks.known(by, INTRINSICS, "instruction")
    checks.known(requantize, get_args(Requantize), "way to requantize")
    operands = checks.expect_all(inputs, Element, "an operand", _OPERAND)
    outputs = checks.expect_all(gives, Element, "gives", "gives=(u8, f32)")
    row = OpSupport(
        op="",
        inputs=tuple(element.operand() for element in operands),
        output=tuple(element.dtype for element in outputs),
        accum=_accumulator(sums_in),
        requantize=cast(Requantize, requantize),
        alignment=checks.alignment({} if align is None else align),
        intrinsic=by,
        throughput=checks.quantity(throughput, "throughput"),
        origin=checks.caller(),
    )
    rows = tuple(replace(row, op=name) for name in listed)
    for each in rows:
        checks.check_row(each)
        check_contradictions(each)
    return rows


def memory(*, l1: str, l2: str, l3: str = "0K", bandwidth: float = 0.0) -> Memory:
    """Cache sizes a core ("48K", "2M") and bytes a cycle and core from memory."""
    l1_bytes, l2_bytes, l3_bytes = (
        checks.size(value, what) for value, what in ((l1, "l1"), (l2, "l2"), (l3, "l3"))
    )
    found = Memory(l1_bytes, l2_bytes, l3_bytes, checks.quantity(bandwidth, "bandwidth"))
    check_memory(found)
    return found


def machine(
    name: str,
    *,
    target: dict[str, object],
    memory: Memory,
    ops: Iterable[tuple[OpSupport, ...]],
    needs: Iterable[str] = (),
    description: str = "",
    is_model: bool = False,
) -> HardwareSpec:
    """The machine: TVM's ``target``, its rows in order of preference, the CPU features it needs.

    ``is_model=True``: artifacts are executable models of the machine, which run on this computer.
    """
    if not checks.expect(name, str, "machine", 'machine("my-chip", ...)').strip():
        raise checks.error("machine", "its name is empty", 'Write machine("my-chip", ...).')
    groups = checks.expect_all(ops, tuple, f"machine '{name}': ops", "ops=[op(...), ...]")
    rows = tuple(
        row
        for group in groups
        for row in checks.expect_all(group, OpSupport, f"machine '{name}': ops", "ops=[op(...)]")
    )
    if not rows:
        raise checks.error(f"machine '{name}'", "it has no rows", "Add ops=[op(...), ...].")
    checks.no_duplicates(name, rows)
    features = checks.expect_all(needs, str, f"machine '{name}': needs", 'needs=("avx2",)')
    own_target = checks.target(target, name)
    check_needs(rows, features, own_target.get("arch"))
    return HardwareSpec(
        name=name,
        target=own_target,
        ops=rows,
        memory=checks.expect(memory, Memory, f"machine '{name}': memory", "memory=memory(...)"),
        features=features,
        description=checks.expect(description, str, f"machine '{name}': description", "text"),
        is_model=checks.expect(is_model, bool, f"machine '{name}': is_model", "is_model=True"),
    )


def _accumulator(sums_in: Element | Saturating) -> Accumulator:
    if isinstance(sums_in, Saturating):
        return Accumulator(sums_in.element.dtype, saturates=True, terms=sums_in.terms)
    return Accumulator(checks.expect(sums_in, Element, "sums_in", "sums_in=s32").dtype)
