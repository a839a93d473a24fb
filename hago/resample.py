"""Where a resized axis reads: the numpy meaning of ``image.resize2d``, one axis at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import relax

from hago.errors import ModelError

Indices = npt.NDArray[np.int64]
Positions = npt.NDArray[np.float64]

# Position in the source of each index of the target, by the names of ONNX's Resize.
_COORDINATES: dict[str, Callable[[Positions, int, int], Positions]] = {
    "half_pixel": lambda x, n, m: (x + 0.5) * n / m - 0.5,
    "pytorch_half_pixel": lambda x, n, m: (x + 0.5) * n / m - 0.5 if m > 1 else 0 * x,
    "tf_half_pixel_for_nn": lambda x, n, m: (x + 0.5) * n / m,
    "align_corners": lambda x, n, m: x * (n - 1) / max(m - 1, 1),
    "asymmetric": lambda x, n, m: x * n / m,
}
_ROUNDINGS: dict[str, Callable[[Positions], Positions]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
}


@dataclass(frozen=True, eq=False)
class Taps:
    """Each target index reads ``(1 - share) * source[low] + share * source[high]``."""

    low: Indices
    high: Indices
    share: npt.NDArray[np.float32]


def taps(call: relax.Call, source: int, target: int) -> Taps:
    """What an axis of ``source`` elements reads to become one of ``target``.

    Raises ModelError for interpolation that is neither nearest nor linear.
    """
    attrs: Any = call.attrs
    mode, method = str(attrs.coordinate_transformation_mode), str(attrs.method)
    if mode not in _COORDINATES or method not in ("nearest_neighbor", "linear"):
        raise ModelError(
            f"resize2d by {method}, {mode}: it has no numpy meaning",
            fact=f"nearest_neighbor and linear have one, by {', '.join(_COORDINATES)}",
            source="hago/resample.py",
        )
    position = _COORDINATES[mode](np.arange(target, dtype=np.float64), source, target)
    if method == "nearest_neighbor":
        default = "round" if mode == "align_corners" else "floor"
        whole = _ROUNDINGS[str(attrs.rounding_method) or default](position)
        share = np.zeros(target, np.float32)
        return Taps(_within(whole, source), _within(whole, source), share)
    whole = np.floor(position)
    share = (position - whole).astype(np.float32)
    return Taps(_within(whole, source), _within(whole + 1, source), share)


def _within(index: Positions, count: int) -> Indices:
    return np.clip(index, 0, count - 1).astype(np.int64)
