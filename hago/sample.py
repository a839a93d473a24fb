"""What a model takes and gives: named arrays of fixed shape and dtype, checked one at a time."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hago.errors import DataError
from hago.scheme import Array

Sample = Mapping[str, Array]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model: its name, static shape and numpy dtype name."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __post_init__(self) -> None:
        np.dtype(self.dtype)
        if min(self.shape, default=1) < 1:
            raise ValueError(f"{self.name}: a static shape has positive extents, not {self.shape}")

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}{list(self.shape)}"


def check_sample(
    sample: Sample, inputs: Sequence[TensorSpec], where: str = "sample 0"
) -> dict[str, Array]:
    """The arrays of ``sample`` in the dtypes of ``inputs``, C-contiguous, in that order.

    Raises DataError, naming ``where`` and the input, for a missing or unknown name, a wrong shape,
    a dtype that cannot be converted without loss, and for NaN and infinity.
    """
    if not isinstance(sample, Mapping):
        fact = f"it is a {type(sample).__name__}, not a mapping of input names to arrays"
        raise DataError(f"{where}: not a sample", fact=fact)
    check_names(sample, inputs, where)
    fitted = {spec.name: fit_array(sample[spec.name], spec, where) for spec in inputs}
    for name, value in fitted.items():
        check_finite(value, f"{where}, input '{name}'")
    return fitted


def check_names(given: Iterable[str], inputs: Sequence[TensorSpec], where: str) -> None:
    """Raises DataError unless ``given`` are exactly the names of ``inputs``."""
    expected, given = [spec.name for spec in inputs], list(given)
    listing = "the model's inputs are " + ", ".join(map(str, inputs))
    for name in given:
        if name not in expected:
            raise DataError(
                f"{where}: the model has no input '{name}'{did_you_mean(name, expected)}",
                fact=listing,
                way_out="Rename or remove the array.",
            )
    for name in expected:
        if name not in given:
            raise DataError(
                f"{where}: no array for input '{name}'",
                fact=f"{listing}; given: {', '.join(given) or 'nothing'}",
                way_out="Add an array of that name.",
            )


def fit_array(value: object, spec: TensorSpec, where: str) -> Array:
    """``value`` as a C-contiguous array of ``spec.shape`` and ``spec.dtype``.

    A missing batch axis of extent 1 is added. Raises DataError on another shape or dtype.
    """
    array = np.asarray(value)
    if array.shape != spec.shape and (1, *array.shape) == spec.shape:
        array = array[np.newaxis]
    if array.shape != spec.shape:
        raise DataError(
            f"{where}, input '{spec.name}': shape {list(array.shape)}",
            fact=f"the model takes {spec}",
            way_out="Give arrays of that shape, or fix another shape with --shape.",
        )
    return np.asarray(_convert(array, spec, where), order="C")


def _convert(array: Array, spec: TensorSpec, where: str) -> Array:
    """``array`` in the dtype of ``spec``: between floats freely, otherwise only without loss."""
    if array.dtype == spec.dtype:
        return array
    wanted = np.dtype(spec.dtype)
    kinds = array.dtype.kind + wanted.kind
    if kinds == "ff":
        with np.errstate(over="ignore"):  # an overflow is infinity: check_finite names it
            return array.astype(wanted)
    if array.dtype.kind in "biu" and wanted.kind in "iuf":
        converted = array.astype(wanted)
        # uint64 wraps there and back
        same_sign = np.array_equal(np.less(converted, 0), np.less(array, 0))
        if same_sign and np.array_equal(converted.astype(array.dtype), array):
            return converted
    raise DataError(
        f"{where}, input '{spec.name}': {array.dtype} does not convert to {wanted} without loss",
        fact=f"the model takes {spec}",
        way_out=f"Convert the data to {wanted} yourself.",
    )


def check_finite(value: Array, where: str) -> None:
    """Raises DataError with the place of the first NaN or infinity of a float array."""
    if value.dtype.kind != "f" or np.isfinite(value).all():
        return
    bad = np.argwhere(~np.isfinite(value))
    first = tuple(int(i) for i in bad[0])
    raise DataError(
        f"{where}: {value[first]} at index {list(first)}",
        fact=f"{len(bad)} of {value.size} values are not finite",
        way_out="Remove such samples, or correct the preprocessing that makes them.",
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``", did you mean 'x'?"`` for the nearest known name, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean '{close[0]}'?" if close else ""
