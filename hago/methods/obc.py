"""Weights rounded one input at a time, each making up for the errors of those before it.

E. Frantar and D. Alistarh, Optimal Brain Compression, arXiv 2208.11580, equation 3, with one order
of the inputs for all outputs and the Cholesky factor of GPTQ (arXiv 2210.17323, section 3.3). With
``H = E[x x^T] + damping`` and ``U`` the upper Cholesky factor of its inverse:

    e_k = (w_k - q(w_k)) / U_kk         w_j -= e_k U_kj   for j > k

Inputs are taken in falling order of their power. Scales stay, also those of groups of inputs.
``q`` gives integer codes, or the values of an 8-bit float: the rule is the same. Where weights are
bound to their neighbours (:mod:`hago.pairs`), the later of two has the room that the first leaves.
Where the layer has a bias, that takes over the mean error (:mod:`hago.methods.taken_over`), and
``H`` is the covariance: 0.4 dB of EfficientNet-Lite0. ``H`` comes from calibration, so nothing runs
again; the method "gptq" is the same rule applied layer after layer to what the quantized layers
before give, by running the model in PyTorch. Of independent inputs of equal power each weight is
rounded to nearest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dtrtri

from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.float8 import encode_float8
from hago.graph import QuantModel
from hago.methods.method import register
from hago.methods.rounders import AnyRounder, FloatRounder, PairRounder, Rounder
from hago.methods.taken_over import errors_count, with_means_taken_over
from hago.pairs import partners
from hago.scheme import Array, Floats, TensorQuant

Doubles = npt.NDArray[np.float64]
_BLOCK = 128  # inputs after which errors are passed on to the rest in one product


@register
@dataclass(frozen=True)
class Obc:
    """Sets codes of weights, integers and 8-bit floats, and the biases behind them.

    ``damping`` is the part of the mean power that is added to every input's.
    """

    name: ClassVar[str] = "obc"
    paper: ClassVar[str] = "Frantar and Alistarh, arXiv 2208.11580, equation 3"
    needs: ClassVar[frozenset[str]] = frozenset({"moments"})

    damping: float = 0.01

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with codes for the weights whose inputs' moments are known."""
        found, weights = dict(model.weights), constant_edges(model.graph)
        for edge, moments in errors_count(model, stats.moments).items():
            quant = model.quants.get(edge)
            if quant is not None and quant.scheme.is_quantized:
                found[edge] = _codes(weights[edge], quant, moments, self.damping)
        return with_means_taken_over(replace(model, weights=found), stats.moments)


def _codes(weight: Array, quant: TensorQuant, moments: Floats, damping: float) -> Array:
    """The codes of ``weight`` ([K, N] of a matmul or OHWI), chosen by ``moments`` [G, K, K]."""
    groups, length, _ = moments.shape
    is_matmul = weight.ndim == 2

    def to_rows(array: Array) -> Array:
        spread = np.broadcast_to(array, weight.shape)
        return (spread.T if is_matmul else spread).reshape(groups, -1, length)

    scale, zero_point = map(to_rows, quant.spread(weight.shape))
    dtype = quant.scheme.dtype
    if dtype.paired:
        low, high = (np.full(scale.shape[:2], float(bound)) for bound in dtype.code_range)
        bound_to = partners(weight)
        codes = _in_order(
            to_rows(weight) / scale.astype(np.float64), moments, damping,
            lambda order, _: PairRounder.over(low, high, order, bound_to),
        ).astype(dtype.storage)  # fmt: skip
    elif dtype.is_integer:
        rows = to_rows(weight)
        rounded = round_weights(rows, scale, zero_point, moments, damping, dtype.code_range)
        codes = rounded.astype(dtype.storage)
    else:
        values = round_floats(to_rows(weight) / scale, moments, damping, dtype.kind)
        codes = encode_float8(values.astype(np.float32), dtype.kind)
    shaped = codes.reshape(weight.T.shape if is_matmul else weight.shape)
    return np.ascontiguousarray(shaped.T if is_matmul else shaped)


def round_weights(
    rows: Array,
    scale: Array,
    zero_point: Array,
    moments: Array,
    damping: float,
    code_range: tuple[int, int],
) -> Doubles:
    """Codes of the real ``rows``, whose ``scale`` and ``zero_point`` are all [G, N, K]."""
    # In units of its first scale a row's codes are whole numbers if that is its only one.
    first = scale[:, :, :1].astype(np.float64)
    steps = None if (scale == first).all() else scale / first
    low, high = (bound - zero_point for bound in code_range)
    if steps is None:
        low, high = low[:, :, 0], high[:, :, 0]
    return round_rows(rows / first, moments, damping, low, high, steps) + zero_point


def round_rows(
    rows: Doubles,
    moments: Array,
    damping: float,
    low: Array,
    high: Array,
    steps: Doubles | None = None,
) -> Doubles:
    """Whole numbers near ``rows`` [G, N, K], between ``low`` and ``high`` [G, N], by the formula.

    With ``steps`` [G, N, K] they are numbers of these, and the bounds are [G, N, K]. ``moments`` is
    [G, K, K]. Without damping it must be positive definite.
    """

    def rounder(_: Array, inputs_first: Callable[[Array], Array]) -> Rounder:
        if steps is None:
            return Rounder(low, high)
        return Rounder(*map(inputs_first, (low, high, steps)))

    return _in_order(rows, moments, damping, rounder)


def round_floats(rows: Doubles, moments: Array, damping: float, kind: str) -> Doubles:
    """Values of the 8-bit float ``kind`` near ``rows`` [G, N, K], likewise."""
    return _in_order(rows, moments, damping, lambda *_: FloatRounder(kind))


def _in_order(
    rows: Doubles,
    moments: Array,
    damping: float,
    make_rounder: Callable[[Array, Callable[[Array], Array]], AnyRounder],
) -> Doubles:
    """``rows`` rounded by the formula. What rounds them is made with the order in which inputs are
    taken, [G, K], and the way to bring an array [G, N, K] into it, as [K, G, N]."""
    order = np.argsort(-np.diagonal(moments, axis1=1, axis2=2), axis=1, kind="stable")
    ordered = np.take_along_axis(moments, order[:, :, None], axis=1)
    factor = inverse_factor(np.take_along_axis(ordered, order[:, None, :], axis=2), damping)

    # Inputs come first in memory: each step then works on whole, contiguous slices.
    def inputs_first(array: Array) -> Array:
        return np.take_along_axis(array, order[:, None, :], axis=2).transpose(2, 0, 1).copy()

    rest = inputs_first(rows)
    rounder = make_rounder(order, inputs_first)
    codes = np.empty_like(rest)
    for start in range(0, len(rest), _BLOCK):
        stop = min(start + _BLOCK, len(rest))
        errors = np.empty_like(rest[start:stop])
        for k in range(start, stop):
            codes[k], error = rounder.round(rest[k], k)
            errors[k - start] = error / factor[:, k, k, None]
            rest[k + 1 : stop] -= factor[:, k, k + 1 : stop].T[:, :, None] * errors[k - start]
        passed_on = np.matmul(factor[:, start:stop, stop:].transpose(0, 2, 1),
                              errors.transpose(1, 0, 2))  # fmt: skip
        rest[stop:] -= passed_on.transpose(1, 0, 2)
    back = np.argsort(order, axis=1)
    return np.take_along_axis(codes.transpose(1, 2, 0), back[:, None, :], axis=2)


def inverse_factor(moments: Floats, damping: float) -> Doubles:
    """Upper triangular ``U`` with ``U^T U = (H + damping mean(diag H))^-1``, [G, K, K].

    The inverse's factor is the inverse of the factor from the other end:
    reversed ``H = L L^T`` gives ``U = reversed(L)^-1``.
    """
    wide = damped(moments, damping)
    lower = np.linalg.cholesky(wide[:, ::-1, ::-1])[:, ::-1, ::-1]
    return np.stack([_triangular_inverse(factor) for factor in lower])


def damped(moments: Floats, damping: float) -> Doubles:
    """``moments`` [G, K, K] with a share of the mean power added to every input's."""
    wide = moments.astype(np.float64)
    power = np.diagonal(wide, axis1=1, axis2=2).mean(axis=1)
    added = np.where(power > 0, damping * power, 1.0)
    return np.asarray(wide + added[:, None, None] * np.eye(wide.shape[1]))


def _triangular_inverse(upper: Doubles) -> Doubles:
    """The inverse of an upper triangular matrix with a positive diagonal."""
    inverse, info = dtrtri(upper)
    assert info == 0, "the Cholesky factor of a positive definite matrix has an inverse"
    return np.asarray(np.triu(inverse))
