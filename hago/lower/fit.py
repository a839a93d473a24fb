"""How tensors of a module broadcast against a kernel's own output shape.

A kernel's output may have other axes than the value it stands for: ``[1, 128, 384]`` is
``[128, 384]`` to a matrix product. Memory is the same, so only shapes are translated.
"""

from __future__ import annotations

import math

Shape = tuple[int, ...]


def fitted_shape(shape: Shape, value: Shape, kernel: Shape) -> Shape | None:
    """The shape under which a tensor that broadcasts against ``value`` broadcasts against
    ``kernel`` (both with the same elements in the same order); None if there is none."""
    if math.prod(shape) == 1:
        return ()
    shape = _without_leading_ones(shape)
    if len(shape) > len(value) or not _broadcasts(shape, value):
        return None
    if len(shape) == 1 and value[-1:] == kernel[-1:]:
        return shape
    if shape == _without_leading_ones(value):
        return kernel
    if value == kernel:
        return shape
    return _collapsed(shape, value, kernel)


def _without_leading_ones(shape: Shape) -> Shape:
    first = next((i for i, extent in enumerate(shape) if extent != 1), len(shape))
    return shape[first:]


def _broadcasts(shape: Shape, value: Shape) -> bool:
    """Whether ``shape`` broadcasts to ``value`` without making it larger."""
    aligned = value[len(value) - len(shape) :]
    return all(own in (1, full) for own, full in zip(shape, aligned, strict=True))


def _collapsed(shape: Shape, value: Shape, kernel: Shape) -> Shape | None:
    """For a kernel that folds leading axes into one: those of ``shape`` are all or none there."""
    kept = len(kernel) - 1
    if value[len(value) - kept :] != kernel[1:]:
        return None
    padded = (1,) * (len(value) - len(shape)) + shape
    lead, tail = padded[: len(value) - kept], padded[len(value) - kept :]
    if math.prod(lead) == 1:
        return _without_leading_ones(tail)
    return (kernel[0], *tail) if lead == value[: len(lead)] else None
