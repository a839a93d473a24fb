"""A layer as a plain product, ``y = x W^T``, on positions drawn from its data.

Convolutions become products by im2col: a row holds the window of one position. One row is one
equation about the weights, and neighbouring positions say nearly the same, so a few thousand drawn
from all samples stand for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hago.gradient import Hook, run_steps, torch
from hago.methods.reconstruction import BlockData

if TYPE_CHECKING:
    from torch import Tensor

_MOST_ELEMENTS = 2**24  # of the inputs of one layer: 64 MB in each stream
_BATCH_ELEMENTS = 2**20  # of the inputs of one step


@dataclass(frozen=True, eq=False)
class LayerRows:
    """``exact`` and ``quantized`` inputs [groups, rows, k] for weights [groups, n, k].

    ``to_rows`` brings a tensor of the weight's shape into that form, ``from_rows`` back;
    ``finish`` applies the bias and activation of the block to sums [groups, rows, n].
    """

    exact: Tensor
    quantized: Tensor
    to_rows: Callable[[Tensor], Tensor]
    from_rows: Callable[[Tensor], Tensor]
    finish: Callable[[Tensor], Tensor]

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


def layer_rows(data: BlockData, round_input: Hook, most: int, generator: object) -> LayerRows:
    """At most ``most`` rows of the one layer of ``data``, drawn by ``generator``.

    ``round_input`` fake-quantizes what the layer reads in the quantized stream.
    """
    step, source = data.steps[0], data.steps[0].node.inputs[0]
    gather, to_rows, from_rows = _FORMS[step.node.op](step, data.exact[source], most, generator)
    return LayerRows(
        gather(data.exact[source]),
        round_input(gather(data.quantized[source])),
        to_rows,
        from_rows,
        lambda sums: _finish(data, sums),
    )


def _finish(data: BlockData, sums: Tensor) -> Tensor:
    """The operations after the layer, on rows: channels are the last axis in both."""
    groups, rows, width = sums.shape
    joined = sums.permute(1, 0, 2).reshape(rows, groups * width)
    values = {data.steps[0].node.name: joined}
    found = run_steps(data.steps[1:], values, {}) if data.steps[1:] else values
    return found[data.block.output].reshape(rows, groups, width).permute(1, 0, 2)


_Form = tuple[
    Callable[["Tensor"], "Tensor"], Callable[["Tensor"], "Tensor"], Callable[["Tensor"], "Tensor"]
]


def _matmul(step: object, data: Tensor, most: int, generator: object) -> _Form:
    """[samples, .., k] by [k, n]: every position is a row."""
    total, k = data.numel() // data.shape[-1], data.shape[-1]
    picked = _draw(total, min(most, _MOST_ELEMENTS // k), generator)
    return (
        lambda values: values.reshape(-1, k)[picked][None],
        lambda weight: weight.T[None],
        lambda rows: rows[0].T,
    )


def _conv2d(step: object, data: Tensor, most: int, generator: object) -> _Form:
    """[samples, 1, h, w, c] by [o, kh, kw, c / groups]: every window is a row."""
    call = step.node.call  # type: ignore[attr-defined]
    weight = step.node.constants[1]  # type: ignore[attr-defined]
    (out, kh, kw, per_group), groups = weight.shape, int(call.attrs.groups)
    k = kh * kw * per_group
    _, oh, ow, _ = (int(extent) for extent in call.ty.shape)
    images = data.shape[0] * data.shape[1]
    picked = _draw(images * oh * ow, min(most, _MOST_ELEMENTS // (k * groups)), generator)

    def gather(values: Tensor) -> Tensor:
        flat = values.reshape(images, *values.shape[-3:])
        image, row, column = picked // (oh * ow), picked // ow % oh, picked % ow
        windows = [
            _at(flat, image, *_place(call, row, column, y, x)) for y in range(kh) for x in range(kw)
        ]
        stacked = torch.stack(windows, 1).reshape(len(picked), kh * kw, groups, per_group)
        return stacked.permute(2, 0, 1, 3).reshape(groups, len(picked), k)

    return (
        gather,
        lambda tensor: tensor.reshape(groups, out // groups, k),
        lambda rows: rows.reshape(out, kh, kw, per_group),
    )


def _place(
    call: object, row: Tensor, column: Tensor, y: int, x: int
) -> tuple[Tensor, Tensor]:
    """Where tap (y, x) of the windows at output (row, column) reads."""
    attrs = call.attrs  # type: ignore[attr-defined]
    (down, right), (tall, wide) = map(int, attrs.strides), map(int, attrs.dilation)
    top, left = int(attrs.padding[0]), int(attrs.padding[1])
    return row * down + y * tall - top, column * right + x * wide - left


def _at(images: Tensor, image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Pixels [rows, c]; zeros outside of the image."""
    _, height, width, _ = images.shape
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    pixels = images[image, row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return pixels * inside[:, None]


def _draw(total: int, most: int, generator: object) -> Tensor:
    return torch.randperm(total, generator=generator)[: max(most, 1)]


_FORMS = {"nn.conv2d": _conv2d, "matmul": _matmul}
