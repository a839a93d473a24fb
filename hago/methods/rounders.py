"""What rounds one input's weights after another's, for :mod:`hago.methods.obc`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from hago.float8 import round_float8
from hago.pairs import LARGEST
from hago.scheme import Array

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rounder:
    """To whole numbers within bounds [G, N], in steps of 1; or bounds and ``steps`` of each input,
    [K, G, N]."""

    low: Array
    high: Array
    steps: Array | None = None

    def round(self, real: Doubles, k: int) -> tuple[Doubles, Doubles]:
        """The codes of input ``k`` and what they leave of ``real``, both [G, N]."""
        if self.steps is None:
            codes = np.clip(np.rint(real), self.low, self.high)
            return codes, real - codes
        codes = np.clip(np.rint(real / self.steps[k]), self.low[k], self.high[k])
        return codes, real - codes * self.steps[k]


@dataclass(frozen=True, eq=False)
class PairRounder:
    """To whole numbers within bounds [G, N] and the one of :mod:`hago.pairs` with ``partners``
    [P, K], -1 for none, of inputs that are taken in ``order`` [G, K]. ``codes`` [K + 1, G, N] are 0
    until they are known; the last ones stay so."""

    low: Array
    high: Array
    order: Array
    partners: Array
    codes: Doubles

    @staticmethod
    def over(low: Array, high: Array, order: Array, partners: Array) -> PairRounder:
        """With no code known yet."""
        return PairRounder(low, high, order, partners, np.zeros((order.shape[1] + 1, *low.shape)))

    def round(self, real: Doubles, k: int) -> tuple[Doubles, Doubles]:
        """The codes of input ``k`` and what they leave of ``real``, both [G, N]."""
        own = self.order[:, k]
        group = np.arange(len(own))
        beside = self.codes[self.partners[:, own], group]
        low = np.maximum(self.low, -LARGEST - beside.min(axis=0, initial=0.0))
        high = np.minimum(self.high, LARGEST - beside.max(axis=0, initial=0.0))
        codes = np.clip(np.rint(real), low, high)
        self.codes[own, group] = codes
        return codes, real - codes


@dataclass(frozen=True)
class FloatRounder:
    """To the nearest value of an 8-bit float."""

    kind: str

    def round(self, real: Doubles, k: int) -> tuple[Doubles, Doubles]:
        """The values of input ``k`` and what they leave of ``real``, both [G, N]."""
        values = round_float8(real, self.kind).astype(np.float64)
        return values, real - values


AnyRounder: TypeAlias = Rounder | PairRounder | FloatRounder
