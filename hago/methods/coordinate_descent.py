"""Codes improved one at a time, the others held, until none gets better.

    q_k <- round(q_k + (H e)_k / H_kk),    e = w - q

is the minimum of ``e H e`` over the code of input k. K. Behdin et al., QuantEase, arXiv 2309.01885,
section 3 (lemma 1), here from codes that were chosen one after the other (:mod:`hago.methods.obc`):
what was rounded first could not know of what came later. An error never grows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hago.scheme import Array

Doubles = npt.NDArray[np.float64]


def descend(
    rows: Doubles, codes: Doubles, moments: Doubles, low: Array, high: Array, sweeps: int
) -> Doubles:
    """Whole numbers [G, N, K] between ``low`` and ``high`` [G, N], at least as near to ``rows`` as
    ``codes`` are by the positive definite ``moments`` [G, K, K], after at most ``sweeps`` over all
    inputs."""
    found = codes.copy()
    slopes = np.matmul(rows - found, moments)
    for _ in range(sweeps):
        has_moved = False
        for k in range(found.shape[2]):
            best = found[:, :, k] + slopes[:, :, k] / moments[:, None, k, k]
            moved = np.clip(np.rint(best), low, high) - found[:, :, k]
            if moved.any():
                has_moved = True
                found[:, :, k] += moved
                slopes -= moved[:, :, None] * moments[:, None, k, :]
        if not has_moved:
            break
    return found
