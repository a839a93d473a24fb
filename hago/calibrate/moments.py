"""First and second moments of what products read: how errors of weights add up in the output.

For a row ``x`` of ``K`` inputs (of a convolution: a window), the error of an output is
``(w - q) . x``, and its mean square over the data is ``(w - q) H (w - q)`` with ``H = E[x x^T]``.
Where a bias takes over the mean of the error, ``H`` is the covariance instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hago.dataflow import Node
from hago.scheme import Array, Floats

# How many rows are looked at: of all samples for each input, and of one sample. More of one tell
# little: its neighbouring windows are alike.
PER_INPUT, FEWEST, MOST = 8, 16, 128
# Inputs of a product: time grows with their cube. The nine layers of ResNet-50 with 2048 or 2304
# would take as long as all other work on that model together.
LARGEST = 1600


@dataclass(frozen=True, eq=False)
class RowMoments:
    """Of what a product reads the ``mean`` E[x], float32 [groups, K], and the ``covariance``
    E[(x - mean) (x - mean)^T], float32 [groups, K, K]."""

    mean: Floats
    covariance: Floats

    @property
    def second(self) -> Floats:
        """E[x x^T], float32 [groups, K, K]."""
        return self.covariance + self.mean[:, :, None] * self.mean[:, None, :]


Moments = Mapping[str, RowMoments]


@dataclass(frozen=True)
class Windows:
    """How a product reads its input: ``groups`` of rows with ``length`` inputs each.

    A matmul has one group whose rows are those of its left operand; ``kernel`` is None then.
    """

    groups: int
    length: int
    kernel: tuple[int, int] | None = None
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def rows(self, values: Array, random: np.random.Generator, count: int = MOST) -> Floats:
        """``count`` rows (or all, if there are fewer), float32 [groups, rows, length]."""
        if self.kernel is None:
            flat = values.reshape(-1, values.shape[-1])
            return flat[_choose(len(flat), random, count)].astype(np.float32)[np.newaxis]
        top, left, bottom, right = self.padding
        image = np.pad(values, ((0, 0), (top, bottom), (left, right), (0, 0)))
        batch, height, width, channels = image.shape
        span = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        across = (width - span[1]) // self.strides[1] + 1
        down = (height - span[0]) // self.strides[0] + 1
        chosen = _choose(batch * down * across, random, count)
        place, column = np.divmod(chosen, across)
        number, line = np.divmod(place, down)
        lines = (line * self.strides[0])[:, None] + np.arange(self.kernel[0]) * self.dilation[0]
        columns = (column * self.strides[1])[:, None] + np.arange(self.kernel[1]) * self.dilation[1]
        windows = image[number[:, None, None], lines[:, :, None], columns[:, None, :]]
        # [rows, kh, kw, groups, inputs] -> [groups, rows, kh kw inputs]: the order of OHWI weights
        grouped = windows.reshape(*windows.shape[:3], self.groups, channels // self.groups)
        moved = grouped.transpose(3, 0, 1, 2, 4).astype(np.float32)
        return np.ascontiguousarray(moved).reshape(self.groups, len(chosen), self.length)


def windows_of(node: Node) -> Windows | None:
    """How ``node`` (a product with constant weights) reads; None where it reads too much."""
    weight = node.constants[1]
    if node.op == "matmul":
        return Windows(1, weight.shape[0]) if weight.shape[0] <= LARGEST else None
    _, height, width, inputs = weight.shape
    if height * width * inputs > LARGEST:
        return None
    attrs = node.call.attrs
    top, left, bottom, right = (int(p) for p in attrs.padding)
    return Windows(
        groups=int(attrs.groups),
        length=height * width * inputs,
        kernel=(height, width),
        strides=(int(attrs.strides[0]), int(attrs.strides[1])),
        dilation=(int(attrs.dilation[0]), int(attrs.dilation[1])),
        padding=(top, left, bottom, right),
    )


def rows_per_sample(windows: Windows, samples: int | None) -> int:
    """How many rows of each of ``samples`` samples make :data:`PER_INPUT` an input, bounded."""
    if samples is None:
        return MOST
    wanted = PER_INPUT * windows.length
    return int(np.clip(-(-wanted // max(samples, 1)), FEWEST, MOST))


@dataclass
class MomentObserver:
    """Streams what one product reads into its moments."""

    windows: Windows
    rows: int = MOST  # of each sample
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    # Subtracted from all rows, [groups, 1, length]: near their mean, or digits would cancel.
    origin: Floats | None = None
    sums: npt.NDArray[np.float64] = field(init=False)
    products: Floats = field(init=False)
    count: int = 0

    def observe(self, values: Array) -> None:
        """Count rows of the float ``values`` that the product reads in one sample."""
        rows = self.windows.rows(values, self.random, self.rows)
        if self.origin is None:
            self.origin = rows.mean(axis=1, keepdims=True)
            self.sums = np.zeros_like(self.origin, np.float64)
            self.products = np.zeros((len(rows), rows.shape[2], rows.shape[2]), np.float32)
        rows = rows - self.origin
        self.sums += rows.sum(axis=1, keepdims=True, dtype=np.float64)
        self.products += np.matmul(rows.transpose(0, 2, 1), rows)
        self.count += rows.shape[1]

    def moments(self) -> RowMoments:
        """What was seen. At least one sample must have been."""
        assert self.origin is not None
        off = (self.sums / self.count).astype(np.float32)
        covariance = self.products / np.float32(self.count) - off.transpose(0, 2, 1) * off
        return RowMoments((self.origin + off)[:, 0], covariance)


def _choose(total: int, random: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
    """``count`` of ``total`` places, one at random in each of as many equal parts."""
    if total <= count:
        return np.arange(total)
    borders = np.arange(count) * (total / count)
    return (borders + random.random(count) * (total / count)).astype(np.int64)
