"""The options of a method are the fields of its dataclass: what they are, and values for them."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from hago.errors import HagoError, StrategyError
from hago.report import Json
from hago.sample import did_you_mean

T = TypeVar("T")


@dataclass(frozen=True)
class OptionReport:
    """An option: its name, its type as text, its default."""

    name: str
    type: str
    default: Json

    def __str__(self) -> str:
        return f"{self.name}: {self.type} = {self.default!r}"


def options_of(method: object) -> tuple[OptionReport, ...]:
    """The options of a method's class or instance, with its defaults or its values."""
    return tuple(
        OptionReport(f.name, str(f.type), plain(getattr(method, f.name, None)))
        for f in _fields(method)
    )


def given_options(method: object) -> dict[str, Json]:
    """The options of a method with their values."""
    return {option.name: option.default for option in options_of(method)}


def with_options(method: Callable[..., T], name: str, options: Mapping[str, object]) -> T:
    """``method`` called with ``options``.

    Raises StrategyError for an option that it does not have, and for a value of another type or
    outside what it takes.
    """
    known = {f.name for f in _fields(method)}
    for option in options:
        if option not in known:
            raise StrategyError(
                f"{name}: no option '{option}'{did_you_mean(option, known)}",
                fact=_listing(method),
                way_out="Give one of its options, or leave it out.",
            )
    fitted = {option: _fit(method, name, option, value) for option, value in options.items()}
    try:
        return method(**fitted)
    except (ValueError, TypeError) as error:
        if isinstance(error, HagoError):
            raise
        raise StrategyError(
            f"{name}: {error}", fact=_listing(method), way_out="Give another value."
        ) from error


def plain(value: object) -> Json:
    """``value`` as JSON has it: tuples are lists, what JSON does not know is text."""
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _fields(method: object) -> tuple[dataclasses.Field[Any], ...]:
    if not dataclasses.is_dataclass(method):
        return ()
    return tuple(f for f in dataclasses.fields(method) if f.init)


def _listing(method: object) -> str:
    options = options_of(method)
    return "its options are " + ", ".join(map(str, options)) if options else "it has no options"


def _fit(method: object, name: str, option: str, value: object) -> object:
    """``value`` as the option takes it: an int for a float becomes one, a list a tuple."""
    hint = get_type_hints(method).get(option, object)
    try:
        fitted = _as(hint, value)
        _check_size(method, option, fitted)
        return fitted
    except _UnfitError as error:
        wanted = next(str(each) for each in options_of(method) if each.name == option)
        raise StrategyError(
            f"{name}: {option}={value!r} is {error}",
            fact=f"it takes {wanted}",
            way_out="Give such a value, or leave it out.",
        ) from error


def _check_size(method: object, option: str, value: object) -> None:
    """Options are counts, shares and rates: none is negative, and a count is 0 only by default or
    where the method has it in ``may_be_zero``."""
    default = getattr(method, option, None)
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float) and number < 0:
            raise _UnfitError("negative")
    is_count = isinstance(default, int) and not isinstance(default, bool) and default > 0
    if is_count and value == 0 and option not in getattr(method, "may_be_zero", ()):
        raise _UnfitError("too small")


class _UnfitError(Exception):
    """A value is of another type, or size."""


def _as(hint: Any, value: object) -> object:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _as_any(get_args(hint), value)
    if origin is tuple and isinstance(value, tuple | list):
        return _as_tuple(get_args(hint), tuple(value))
    if origin is Literal:
        return _checked(value in get_args(hint), value)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _checked(math.isfinite(value), float(value), "not finite")
    wanted = origin or hint
    fits = isinstance(wanted, type) and isinstance(value, wanted)
    return _checked(fits and (wanted is not int or not isinstance(value, bool)), value)


def _as_any(hints: tuple[Any, ...], value: object) -> object:
    for hint in hints:
        with suppress(_UnfitError):
            return _as(hint, value)
    return _checked(False, value)


def _as_tuple(hints: tuple[Any, ...], values: tuple[object, ...]) -> object:
    if hints[-1:] == (...,):
        hints = hints[:1] * len(values)
    _checked(len(hints) == len(values), values, f"of length {len(values)}, not {len(hints)}")
    return tuple(_as(hint, value) for hint, value in zip(hints, values, strict=True))


def _checked(is_right: bool, value: object, wrong: str = "") -> object:
    if is_right:
        return value
    raise _UnfitError(wrong or f"of type {type(value).__name__}")
