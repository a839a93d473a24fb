"""Weights rounded one input at a time, each making up for the errors of those before it.

E. Frantar and D. Alistarh, Optimal Brain Compression, arXiv 2208.11580, equation 3, with one order
of the inputs for all outputs and the Cholesky factor of GPTQ (arXiv 2210.17323, section 3.3). With
``H = E[x x^T] + damping`` and ``U`` the upper Cholesky factor of its inverse:

    e_k = (w_k - q(w_k)) / U_kk         w_j -= e_k U_kj   for j > k

Inputs are taken in falling order of their power. Scales stay. ``H`` comes from calibration, so
nothing runs again; the method "gptq" is the same rule applied layer after layer to what the
quantized layers before give, by running the model in PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dtrtri

from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.graph import QuantModel
from hago.methods.method import register
from hago.scheme import Array, Floats, PerGroup, TensorQuant

Doubles = npt.NDArray[np.float64]
_BLOCK = 128  # inputs after which errors are passed on to the rest in one product


@register
@dataclass(frozen=True)
class Obc:
    """Sets codes of integer weights with scales per tensor or per output channel.

    ``damping`` is the part of the mean power that is added to every input's.
    """

    name: ClassVar[str] = "obc"
    paper: ClassVar[str] = "Frantar and Alistarh, arXiv 2208.11580, equation 3"
    needs: ClassVar[frozenset[str]] = frozenset({"moments"})

    damping: float = 0.01

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with codes for the integer weights whose inputs' moments are known."""
        found = dict(model.weights)
        for edge, weight in constant_edges(model.graph).items():
            quant, moments = model.quants.get(edge), stats.moments.get(edge.dst)
            if quant is not None and moments is not None and _is_supported(quant):
                found[edge] = _codes(weight, quant, moments, self.damping)
        return replace(model, weights=found)


def _is_supported(quant: TensorQuant) -> bool:
    return quant.scheme.dtype.is_integer and not isinstance(quant.scheme.granularity, PerGroup)


def _codes(weight: Array, quant: TensorQuant, moments: Floats, damping: float) -> Array:
    """The codes of ``weight`` ([K, N] of a matmul or OHWI), chosen by ``moments`` [G, K, K]."""
    groups, length, _ = moments.shape
    is_matmul = weight.ndim == 2
    rows = weight.T if is_matmul else weight
    scale, zero_point = (
        np.broadcast_to(numbers.reshape(-1), len(rows)).reshape(groups, -1)
        for numbers in (quant.scale, quant.zero_point)
    )
    low, high = quant.scheme.dtype.code_range
    # In units of its scale a code is a whole number, and the error of a row scales with it.
    units = rows.reshape(groups, -1, length) / scale[:, :, None].astype(np.float64)
    rounded = round_rows(units, moments, damping, low - zero_point, high - zero_point)
    codes = (rounded + zero_point[:, :, None]).reshape(rows.shape)
    stored = codes.astype(quant.scheme.dtype.storage)
    return np.ascontiguousarray(stored.T if is_matmul else stored)


def round_rows(rows: Doubles, moments: Floats, damping: float, low: Array, high: Array) -> Doubles:
    """Whole numbers near ``rows`` [G, N, K], between ``low`` and ``high`` [G, N], by the formula.

    ``moments`` is [G, K, K]. Without damping it must be positive definite.
    """
    order = np.argsort(-np.diagonal(moments, axis1=1, axis2=2), axis=1, kind="stable")
    ordered = np.take_along_axis(moments, order[:, :, None], axis=1)
    factor = _inverse_factor(np.take_along_axis(ordered, order[:, None, :], axis=2), damping)
    # Inputs come first in memory: each step then works on whole, contiguous slices.
    rest = np.take_along_axis(rows, order[:, None, :], axis=2).transpose(2, 0, 1).copy()
    codes = np.empty_like(rest)
    for start in range(0, len(rest), _BLOCK):
        stop = min(start + _BLOCK, len(rest))
        errors = np.empty_like(rest[start:stop])
        for k in range(start, stop):
            codes[k] = np.clip(np.rint(rest[k]), low, high)
            errors[k - start] = (rest[k] - codes[k]) / factor[:, k, k, None]
            rest[k + 1 : stop] -= factor[:, k, k + 1 : stop].T[:, :, None] * errors[k - start]
        passed_on = np.matmul(factor[:, start:stop, stop:].transpose(0, 2, 1),
                              errors.transpose(1, 0, 2))  # fmt: skip
        rest[stop:] -= passed_on.transpose(1, 0, 2)
    back = np.argsort(order, axis=1)
    return np.take_along_axis(codes.transpose(1, 2, 0), back[:, None, :], axis=2)


def _inverse_factor(moments: Floats, damping: float) -> Doubles:
    """Upper triangular ``U`` with ``U^T U = (H + damping mean(diag H))^-1``, [G, K, K].

    The inverse's factor is the inverse of the factor from the other end:
    reversed ``H = L L^T`` gives ``U = reversed(L)^-1``.
    """
    wide = moments.astype(np.float64)
    power = np.diagonal(wide, axis1=1, axis2=2).mean(axis=1)
    added = np.where(power > 0, damping * power, 1.0)
    wide = wide + added[:, None, None] * np.eye(wide.shape[1])
    lower = np.linalg.cholesky(wide[:, ::-1, ::-1])[:, ::-1, ::-1]
    return np.stack([_triangular_inverse(factor) for factor in lower])


def _triangular_inverse(upper: Doubles) -> Doubles:
    """The inverse of an upper triangular matrix with a positive diagonal."""
    inverse, info = dtrtri(upper)
    assert info == 0, "the Cholesky factor of a positive definite matrix has an inverse"
    return np.asarray(np.triu(inverse))
