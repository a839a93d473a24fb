"""A layer as a plain product, ``y = x W^T``, on positions drawn from its data.

Convolutions become products by im2col: a row holds the window of one position. One row is one
equation about the weights, and neighbouring positions say nearly the same, so a few thousand drawn
from all samples stand for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hago.gradient import Hook, Hooks, Step, run_steps, torch
from hago.gradient.fake_quantize import bias_hooks
from hago.graph import QuantModel
from hago.methods.descent import seeded
from hago.methods.reconstruction import BlockData, hooks_within
from hago.methods.streams import Value, chunks

if TYPE_CHECKING:
    from torch import Tensor
    from tvm import relax

_MOST_ELEMENTS = 2**24  # of the inputs of one layer: 64 MB in each stream
_BATCH_ELEMENTS = 2**20  # of the inputs of one step
_SPREAD = 4  # positions to draw one of, where there are so many
_FEWEST_SAMPLES = 64


@dataclass(frozen=True, eq=False)
class LayerRows:
    """``exact`` and ``quantized`` inputs [groups, rows, k] for weights [groups, n, k].

    ``to_rows`` brings a tensor of the weight's shape into that form, ``from_rows`` back;
    ``finish`` applies the bias and activation of the block to sums [groups, rows, n] as the
    quantized model has them, ``finish_exact`` as the float model has them.
    """

    exact: Tensor
    quantized: Tensor
    to_rows: Callable[[Tensor], Tensor]
    from_rows: Callable[[Tensor], Tensor]
    finish: Callable[[Tensor], Tensor]
    finish_exact: Callable[[Tensor], Tensor]

    def own_form(self, codes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """``codes`` [groups, n, k] in the weight's shape."""
        return np.ascontiguousarray(self.from_rows(torch.from_numpy(codes)).numpy())

    @property
    def count(self) -> int:
        return int(self.exact.shape[1])

    def batch(self, most: int) -> int:
        """How many rows a step sees: ``most``, or fewer where a row is long (many channels of a
        depthwise convolution, with few weights each)."""
        return min(most, max(32, _BATCH_ELEMENTS // (self.exact.shape[0] * self.exact.shape[2])))


def product(inputs: Tensor, weight: Tensor) -> Tensor:
    """[groups, rows, k] by [groups, n, k] to [groups, rows, n]."""
    if weight.shape[1] == 1:  # depthwise: a product of matrices with one column is slow
        return (inputs * weight).sum(2, keepdim=True)
    return torch.bmm(inputs, weight.transpose(1, 2))


def layer_rows(
    data: BlockData, round_input: Hook, biases: Hooks, most: int, generator: object
) -> LayerRows:
    """At most ``most`` rows of the one layer of ``data``, drawn by ``generator``; none of padding.

    ``round_input`` fake-quantizes what the layer reads in the quantized stream, which has other
    ``biases``.
    """
    step, source = data.steps[0], data.steps[0].node.inputs[0]
    form = _FORMS[step.node.op](step)
    most = max(1, min(most, _MOST_ELEMENTS // form.length))
    drawn = _draw(form, data.exact[source].count, most, generator, data.counted)
    return LayerRows(
        drawn.rows(data.exact[source]),
        round_input(drawn.rows(data.quantized[source])),
        form.to_rows,
        form.from_rows,
        lambda sums: _finish(data, sums, biases),
        lambda sums: _finish(data, sums, {}),
    )


def quantized_rows(model: QuantModel, data: BlockData, most: int, seed: int) -> LayerRows:
    """The same of a layer that reads what ``model`` makes of its input."""
    edge = data.steps[0].node.name, 0
    round_input = hooks_within(model, data.block).get(edge, lambda real: real)
    return layer_rows(data, round_input, bias_hooks(model), most, seeded(seed))


def _finish(data: BlockData, sums: Tensor, hooks: Hooks) -> Tensor:
    """The operations after the layer, on rows: channels are the last axis in both."""
    groups, rows, width = sums.shape
    joined = sums.permute(1, 0, 2).reshape(rows, groups * width)
    values = {data.steps[0].node.name: joined}
    found = run_steps(data.steps[1:], values, hooks) if data.steps[1:] else values
    return found[data.block.output].reshape(rows, groups, width).permute(1, 0, 2)


@dataclass(frozen=True, eq=False)
class _Form:
    """How a layer is a product: each sample gives ``positions`` rows of ``length`` elements in
    all groups; ``gather`` takes some of those of values [samples, ...]."""

    positions: int
    length: int
    gather: Callable[[Tensor, Tensor], Tensor]
    to_rows: Callable[[Tensor], Tensor]
    from_rows: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Rows ``places`` (rising) of the samples ``samples``."""

    form: _Form
    samples: Tensor
    places: Tensor

    def rows(self, value: Value) -> Tensor:
        """These rows of ``value``, [groups, rows, k]."""
        found = []
        for chunk in chunks(len(self.samples)):
            first, last = (int(place) * self.form.positions for place in (chunk.start, chunk.stop))
            inside = self.places[(self.places >= first) & (self.places < last)] - first
            found.append(self.form.gather(value.take(self.samples[chunk]), inside))
        return torch.cat(found, 1)


def _draw(
    form: _Form, count: int, most: int, generator: object, counted: Tensor | None
) -> _Drawn:
    """Rows of all ``count`` samples, or of fewer where these have many positions.

    Where a sample has as many rows as ``counted`` [samples, positions], only those are drawn.
    """
    enough = max(_FEWEST_SAMPLES, -(-_SPREAD * most // form.positions))
    samples = torch.randperm(count, generator=generator)[:enough].sort().values
    if counted is None or counted.shape[1] != form.positions:
        counted = torch.ones((count, form.positions), dtype=torch.bool)
    places = counted[samples].reshape(-1).nonzero().squeeze(1)
    picked = torch.randperm(len(places), generator=generator)[:most].sort().values
    return _Drawn(form, samples, places[picked])


def _matmul(step: Step) -> _Form:
    """[samples, .., k] by [k, n]: every position is a row."""
    k = step.node.constants[1].shape[0]
    return _Form(
        positions=prod(step.node.shape) // step.node.constants[1].shape[1],
        length=k,
        gather=lambda values, places: values.reshape(-1, k)[places][None],
        to_rows=lambda weight: weight.T[None],
        from_rows=lambda rows: rows[0].T,
    )


def _conv2d(step: Step) -> _Form:
    """[samples, 1, h, w, c] by [o, kh, kw, c / groups]: every window is a row."""
    call = step.node.call
    (out, kh, kw, per_group), groups = step.node.constants[1].shape, int(call.attrs.groups)
    batch, oh, ow, _ = step.node.shape
    k = kh * kw * per_group

    def gather(values: Tensor, places: Tensor) -> Tensor:
        images = values.flatten(0, 1)
        image, row, column = places // (oh * ow), places // ow % oh, places % ow
        windows = [
            _at(images, image, *_place(call, row, column, y, x))
            for y in range(kh)
            for x in range(kw)
        ]
        stacked = torch.stack(windows, 1).reshape(len(places), kh * kw, groups, per_group)
        return stacked.permute(2, 0, 1, 3).reshape(groups, len(places), k)

    return _Form(
        positions=batch * oh * ow,
        length=k * groups,
        gather=gather,
        to_rows=lambda tensor: tensor.reshape(groups, out // groups, k),
        from_rows=lambda rows: rows.reshape(out, kh, kw, per_group),
    )


def _place(
    call: relax.Call, row: Tensor, column: Tensor, y: int, x: int
) -> tuple[Tensor, Tensor]:
    """Where tap (y, x) of the windows at output (row, column) reads."""
    attrs = call.attrs
    (down, right), (tall, wide) = map(int, attrs.strides), map(int, attrs.dilation)
    top, left = int(attrs.padding[0]), int(attrs.padding[1])
    return row * down + y * tall - top, column * right + x * wide - left


def _at(images: Tensor, image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Pixels [rows, c]; zeros outside of the image."""
    _, height, width, _ = images.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    pixels = images[image, row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return pixels * inside[:, None]


_FORMS = {"nn.conv2d": _conv2d, "matmul": _matmul}
