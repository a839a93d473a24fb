"""Rows that a machine has from another: said once, with their source, in that one's file."""

from __future__ import annotations

from collections.abc import Sequence

from hago.hardware import checks
from hago.hardware.intrinsics import INTRINSICS
from hago.hardware.load import list_specs, load_spec
from hago.hardware.spec import OpSupport
from hago.hardware.words import Element

_UNDER_WAY: list[str] = []  # the machines whose rows are being asked for, the first asker first


def rows_of(name: str, first: Element, *, by: str | Sequence[str]) -> tuple[OpSupport, ...]:
    """The rows of the built-in machine ``name`` that compute on ``first`` by the instructions
    ``by``, as ``op`` gives rows: ``rows_of("cuda-sm75", s8, by="dp4a")``. Raises SpecError."""
    checks.known(name, list_specs(), "machine")
    element = checks.expect(first, Element, "rows_of: first operand", "rows_of(.., s8, by=..)")
    listed = (by,) if isinstance(by, str) else by
    listed = checks.expect_all(listed, str, "rows_of: by", 'by=("dp4a", "fma.f32")')
    for instruction in listed:
        checks.known(instruction, INTRINSICS, "instruction")
    rows = tuple(
        row
        for row in _rows(name)
        if row.inputs[0].dtype == element.dtype and row.intrinsic in listed
    )
    if not rows:
        asked = f"no row of {name} reads {element.dtype} by {' or '.join(listed)}"
        raise checks.error("rows_of", asked, f"'hago spec show {name}' shows what it has.")
    return rows


def _rows(name: str) -> tuple[OpSupport, ...]:
    if name in _UNDER_WAY:
        asked = " of ".join((name, *reversed(_UNDER_WAY)))
        raise checks.error("rows_of", f"it asks for the rows of {asked}", "Say them in one file.")
    _UNDER_WAY.append(name)
    try:
        return load_spec(name).ops
    finally:
        _UNDER_WAY.pop()
