"""How close the outputs of a quantized model are to those of the float model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hago.scheme import Array


def compare_outputs(exact: Sequence[Array], actual: Sequence[Array]) -> dict[str, float]:
    """Measures over samples of one output, each ``[1, ...]`` or ``[...]`` float32.

    ``sqnr_db``: 10 log10 of signal over error power (capped at 200 where they are equal),
    ``cosine``: mean cosine of the flattened samples, ``top1``: how often the largest element of
    the last axis is the same (only where that axis has at least two elements).
    """
    left = np.stack([np.ravel(value) for value in exact]).astype(np.float64)
    right = np.stack([np.ravel(value) for value in actual]).astype(np.float64)
    found = {"sqnr_db": sqnr_db(left, right), "cosine": _cosine(left, right)}
    classes = exact[0].shape[-1] if exact[0].ndim else 1
    if classes > 1:
        tops = (rows.reshape(-1, classes).argmax(axis=1) for rows in (left, right))
        found["top1"] = float(np.mean(np.equal(*tops)))
    return found


def sqnr_db(exact: Array, actual: Array) -> float:
    """Signal-to-quantization-noise ratio in dB."""
    noise = float(np.square(exact - actual).sum())
    signal = float(np.square(exact).sum())
    return 200.0 if noise == 0 else float(10 * np.log10(max(signal, 1e-300) / noise))


def _cosine(left: Array, right: Array) -> float:
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(np.mean((left * right).sum(axis=1) / np.maximum(norms, 1e-300)))
