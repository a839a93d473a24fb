"""What the words of a specification must be: each check names the file and the line."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from hago.errors import SpecError
from hago.hardware.spec import Alignment, OpSupport, Origin

T = TypeVar("T")
_HERE = str(Path(__file__).parent)
_PAIRS = ("conv2d", "depthwise_conv2d", "matmul", "batch_matmul", "add", "multiply")
_SCALARS = (str, int, float, bool)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def caller() -> Origin:
    """File and line of the first frame outside of the words themselves."""
    frame = sys._getframe(1)
    while str(Path(frame.f_code.co_filename).parent) == _HERE and frame.f_back is not None:
        frame = frame.f_back
    return Origin(frame.f_code.co_filename, frame.f_lineno)


def error(what: str, fact: str, way_out: str, origin: Origin | None = None) -> SpecError:
    """The SpecError about ``what`` at ``origin``, which is the caller's line unless it is given."""
    return SpecError(what, fact=fact, source=str(origin or caller()), way_out=way_out)


def expect(value: object, kind: type[T], what: str, example: str) -> T:
    """``value``, which must be a ``kind``; booleans are no numbers."""
    if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
        return value
    raise error(what, f"it is {value!r}, of type {type(value).__name__}", f"Write {example}.")


def expect_all(values: object, kind: type[T], what: str, example: str) -> tuple[T, ...]:
    """``values`` as a tuple; each must be a ``kind``, and text is no list."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise error(what, f"it is {values!r}, not a list", f"Write {example}.")
    return tuple(expect(value, kind, what, example) for value in values)


def known(name: object, among: Iterable[str], kind: str) -> str:
    """``name``, which must be one of ``among``."""
    names = list(among)
    if isinstance(name, str) and name in names:
        return name
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(names)}."
    raise error(f"'{name}'", f"no such {kind}", hint)


def quantity(value: object, what: str) -> float:
    """A number that is finite and not negative."""
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if number is None or not math.isfinite(number) or number < 0:
        raise error(f"{what}={value!r}", "it is no finite number from 0 on",
                    f"Write {what}=64, or leave it out.")  # fmt: skip
    return float(number)


def size(value: object, what: str) -> int:
    """Bytes of ``"48K"``, ``"2M"``."""
    text = expect(value, str, what, f'{what}="48K"')
    digits, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not (digits.isascii() and digits.isdigit()):
        raise error(f"size '{text}'", "it is not a number and K, M or G", "Write '48K' or '2M'.")
    return int(digits) * _UNITS[unit]


def alignment(value: object) -> Alignment:
    """``{"k": 4, "n": 16}`` as an :class:`Alignment`."""
    found = {}
    for key, multiple in expect(value, dict, "align", 'align={"k": 4}').items():
        known(key, ("k", "n", "m"), "axis to align")
        if expect(multiple, int, f"align {key}", f'align={{"{key}": 4}}') < 1:
            raise error(f"align {key}={multiple}", "an alignment is at least 1",
                        "Write a positive multiple.")  # fmt: skip
        found[str(key)] = int(multiple)
    return Alignment(**found)


def target(value: object, name: str) -> dict[str, object]:
    """TVM's target: text keys; text, numbers and lists of text as values; a ``"kind"``."""
    found = expect(value, dict, f"machine '{name}': target", 'target={"kind": "llvm"}')
    if "kind" not in found:
        raise error(f"machine '{name}'", "its target has no 'kind'",
                    'Write target={"kind": "llvm", ...}.')  # fmt: skip
    for key, entry in found.items():
        plain = entry if isinstance(entry, (list, tuple)) else [entry]
        if not isinstance(key, str) or not all(isinstance(item, _SCALARS) for item in plain):
            raise error(f"machine '{name}': target[{key!r}]", f"it is {entry!r}",
                        "Write text, numbers or a list of text.")  # fmt: skip
    return dict(found)


def check_row(row: OpSupport) -> None:
    """What a row says about itself must hold together."""
    arity = 2 if row.op in _PAIRS else 1
    if row.op != "concat" and len(row.inputs) != arity:
        raise error(f"row '{row.op}'", f"it has {len(row.inputs)} operands, not {arity}",
                    "Give one element type an operand.", row.origin)  # fmt: skip
    if not row.inputs or not row.output:
        raise error(f"row '{row.op}'", "it reads nothing, or its result leaves in no type",
                    "Give an operand, and say gives=(f32,) at least.", row.origin)  # fmt: skip
    integers = [operand.dtype.is_integer for operand in row.inputs]
    if any(integers) != row.accum.dtype.is_integer or any(integers) != all(integers):
        operands = " and ".join(str(operand.dtype) for operand in row.inputs)
        raise error(f"row '{row.op}'", f"{operands} summed in {row.accum.dtype}",
                    "Sum integers in integers and floats in floats.", row.origin)  # fmt: skip
    if row.requantize != "float32" and not row.accum.dtype.is_integer:
        raise error(f"row '{row.op}'", f"{row.requantize} requantization of {row.accum.dtype}",
                    "Fixed point starts from an integer accumulator.", row.origin)  # fmt: skip
    if len(row.inputs) == 2 and all(integers):
        _check_width(row)


def _check_width(row: OpSupport) -> None:
    """One product must fit the accumulator, or the row must say that it saturates."""
    needed = sum(operand.dtype.bits for operand in row.inputs)
    if needed > row.accum.dtype.bits and not row.accum.saturates:
        raise error(f"row '{row.op}'",
                    f"a product of {needed} bits does not fit {row.accum.dtype}",
                    "Widen sums_in, or say saturating(..., terms=N).", row.origin)  # fmt: skip


def no_duplicates(name: str, rows: Sequence[OpSupport]) -> None:
    """Rows differ in operator, operands, accumulator or instruction."""
    seen: dict[object, OpSupport] = {}
    for row in rows:
        key = (row.op, row.inputs, row.accum, row.intrinsic)
        if key in seen:
            first = f"the first is at {seen[key].origin}"
            raise error(f"machine '{name}': two rows for {row}", first, "Remove one.", row.origin)
        seen[key] = row
