"""Output channels whose rounding costs most become sums of several low-bit vectors.

    w ~ sum_i a_i q_i,    a_i > 0, q_i of b bits, evenly spaced values
    (a_i, q_i) = argmin || r_i - a q ||,    r_1 = w,  r_(i+1) = r_i - a_i q_i

X. Liu, M. Ye, D. Zhou and Q. Liu, Post-training Quantization with Multiple Points: Mixed Precision
without Mixed Precision, arXiv 2002.09049: greedily, ``a`` from a grid and the nearest ``q`` for
each. A channel gets another vector while the error of its output over the data,

    e = E[((w - sum_i a_i q_i) . x)^2]

is above a bound. With one vector this is rounding to nearest; every further one divides the error
by a factor. No kernel is special: a layer gets a few more output channels, each with a scale of its
own, and additions (:mod:`hago.prepare.add_points`).

The last vector of a channel is left unrounded in the float module, which computes what it did; the
methods that follow choose its scale and codes. Those of the others are found again by any of them,
as their codes go from end to end. The bound of a layer is hago's own choice: what its outputs
carry, E[(w . x)^2] in the mean over its channels, times the layer's share of all weights, times a
number for the network. So vectors go where they take most noise for their weights: EfficientNet-
Lite0, W4A8, 8.7 % more bits: agreement 0.22 to 0.69; one bound for all layers of the same share of
power: 0.50 for 11 % (then with symmetric codes, from 0.17).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from tvm.ir import IRModule

from hago.annotate import choose_strategy
from hago.annotate.narrow import WeightFormat, narrow_weights
from hago.calibrate.moments import Moments
from hago.dataflow import read_dataflow
from hago.graph import QuantGraph
from hago.methods.method import BeforeNumbers, register
from hago.prepare import prepare
from hago.prepare.add_points import Points, add_points, rows_of
from hago.scheme import Array, Floats, PerAxis, QuantScheme, TensorQuant, fill_scheme

Doubles = npt.NDArray[np.float64]


@register
@dataclass(frozen=True)
class Multipoint(BeforeNumbers):
    """Adds vectors to channels of layers whose weights will have few bits, and a scale a channel.

    A channel has ``points`` vectors at most. ``bound`` is the noise to signal that is to go for all
    weights once more. ``a`` is one of ``shares`` parts of the largest weight, down to ``smallest``.
    """

    name: ClassVar[str] = "multipoint"
    paper: ClassVar[str] = "Liu et al., arXiv 2002.09049"

    bound: float = 1.0
    points: int = 3
    smallest: float = 0.3
    shares: int = 36

    def widen(self, graph: QuantGraph, moments: Moments, weights: WeightFormat) -> IRModule:
        """The prepared module with more output channels; the same where no error is too large."""
        schemes = _schemes(graph, weights)
        nodes = read_dataflow(graph.module).nodes
        layers = [node for node in nodes if node.name in schemes and node.name in moments]
        total = sum(node.constants[1].size for node in layers)
        found: dict[str, Points] = {}
        for node in layers:
            rows, known = rows_of(node).astype(np.float64), moments[node.name].second
            bound = self.bound * rows.size / total * float(output_power(rows, known).mean())
            points = self.points_of(rows, known, schemes[node.name], bound)
            if len(points.channels):
                found[node.name] = points
        return prepare(add_points(graph.module, found)) if found else graph.module

    def points_of(
        self, rows: Doubles, moments: Floats, scheme: QuantScheme, bound: float
    ) -> Points:
        """The vectors of ``rows`` [N, K], by the moments [G, K, K] of what they read; ``bound`` is
        that of the error of an output."""
        rest, still = rows.copy(), np.ones(len(rows), bool)
        taken: list[Doubles] = []
        for _ in range(self.points - 1):
            point = self.nearest(rest, scheme)
            still = still & point.any(axis=1) & (output_power(rest - point, moments) > bound)
            if not still.any():
                break
            taken.append(np.where(still[:, None], point, 0.0))
            rest = rest - taken[-1]
        return _as_points(taken, rest)

    def nearest(self, rows: Doubles, scheme: QuantScheme) -> Doubles:
        """The a q with the least squared error for each of ``rows`` [N, K], q codes of ``scheme``
        from end to end."""
        best, least = np.zeros_like(rows), np.full(len(rows), np.inf)
        real = rows.astype(np.float32)
        for share in np.linspace(1.0, self.smallest, self.shares):
            quant = fill_scheme(scheme, share * real.min(axis=1), share * real.max(axis=1))
            codes, reach = _codes(quant, real)
            point = quant.decode(codes).astype(np.float64)
            error = np.where(reach, np.square(rows - point).sum(axis=1), np.inf)
            best = np.where((error < least)[:, None], point, best)
            least = np.minimum(error, least)
        return best


def _schemes(graph: QuantGraph, weights: WeightFormat) -> dict[str, QuantScheme]:
    """What the rows of each layer will be in: integers with numbers for each output channel."""
    strategy = narrow_weights(graph, choose_strategy(graph, "int8"), weights)
    return {
        edge.dst: replace(scheme, granularity=PerAxis(0))
        for edge, scheme in strategy.items()
        if edge.is_constant and isinstance(scheme.granularity, PerAxis)
        if scheme.dtype.is_integer and scheme.computed_in is None
    }


def _codes(quant: TensorQuant, rows: Floats) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Codes of ``rows``, and which rows reach both ends of the codes (where these lie around 0,
    one): others would find a smaller scale the next time."""
    first, last = quant.scheme.dtype.code_range
    codes = quant.encode(rows)
    if not quant.scheme.symmetric:
        return codes, (codes.min(axis=1) == first) & (codes.max(axis=1) == last)
    codes = np.maximum(codes, -last)
    return codes, np.abs(codes).max(axis=1) == last


def output_power(rows: Doubles, moments: Floats) -> Doubles:
    """E[(w . x)^2] of each of ``rows`` [N, K], by the moments [G, K, K] of what they read."""
    grouped = rows.reshape(len(moments), -1, rows.shape[1])
    products = np.matmul(grouped, moments.astype(np.float64))
    return np.asarray(np.maximum((products * grouped).sum(axis=2), 0.0).reshape(-1))


def _as_points(taken: list[Doubles], rest: Doubles) -> Points:
    """Of each row the vectors that were ``taken``, and the ``rest`` as the last."""
    counts = np.zeros(len(rest), np.int64)
    for part in taken:
        counts += np.any(part, axis=1)
    vectors = np.stack([*taken, np.zeros_like(rest)])
    vectors[counts, np.arange(len(rest))] = rest
    turn, channels = np.nonzero(np.arange(len(vectors))[:, None] <= counts)
    more = turn > 0
    rows = vectors.astype(np.float32)
    return Points(rows[0], rows[turn[more], channels[more]], channels[more])
