"""Converters for Fourier transforms of a length that is known: products with constant waves.

    X[k] = sum_t x[t] exp(-2 pi i k t / n)

Complex numbers are pairs on the last axis: of a + ib a wave with cosine c and sine s makes
a c + b s and b c - a s.
"""

from __future__ import annotations

import numpy as np
from tvm import relax

from hago.frontend.onnx_node import Array, Node, NotConvertible, constant, converts

_MOST = 2**26  # elements of the matrix of waves: beyond it, a fast transform is what is wanted


@converts("STFT")
def _short_time(node: Node) -> relax.Expr:
    """Transforms of the frames of a signal, as one convolution whose kernels are waves."""
    step, window = int(node.array(1)), node.array(2) if node.has(2) else None
    if node.has(3):
        size = int(node.array(3))
    elif window is not None:
        size = len(window)
    else:
        raise NotConvertible("neither a window nor a frame's length")
    if window is not None and len(window) != size:
        raise NotConvertible(f"a window of {len(window)} for frames of {size}")
    batch, length = node.shape(0)[:2]
    if size > length:
        raise NotConvertible(f"frames of {size} in a signal of {length}")
    parts = node.shape(0)[2] if len(node.shape(0)) > 2 else 1
    bins = size // 2 + 1 if node.number("onesided", 1) else size
    waves = _waves(size, size, bins, parts)
    if window is not None:
        waves = waves * window.astype(np.float64)[:, None, None, None]
    signal = node.emit(relax.op.reshape(node.input(0), (batch, length, parts)))
    channels = node.emit(relax.op.permute_dims(signal, [0, 2, 1]))
    kernels = waves.transpose(3, 2, 1, 0).reshape(2 * bins, parts, size)
    spectra = node.emit(relax.op.nn.conv1d(channels, constant(_narrow(kernels)), strides=step))
    frames = (length - size) // step + 1
    split = node.emit(relax.op.reshape(spectra, (batch, 2, bins, frames)))
    return relax.op.permute_dims(split, [0, 3, 2, 1])


@converts("DFT")
def _transform(node: Node) -> relax.Expr:
    """One axis transformed by a matrix product."""
    shape = node.shape(0)
    axis = _axis(node) % len(shape)
    length, parts = shape[axis], shape[-1]
    size = int(node.array(1)) if node.has(1) else length
    is_inverse, is_onesided = (bool(node.number(n, 0)) for n in ("inverse", "onesided"))
    if is_inverse and is_onesided:
        raise NotConvertible("the inverse of half a spectrum")
    bins = size // 2 + 1 if is_onesided else size
    waves = _waves(length, size, bins, parts, is_inverse=is_inverse)
    # The axis goes in front of the pairs, and back.
    order = [each for each in range(len(shape) - 1) if each != axis]
    front = [shape[each] for each in order]
    moved = node.emit(relax.op.permute_dims(node.input(0), [*order, axis, len(shape) - 1]))
    rows = node.emit(relax.op.reshape(moved, (*front, length * parts)))
    matrix = constant(_narrow(waves.reshape(length * parts, bins * 2)))
    pairs = node.emit(relax.op.reshape(node.emit(relax.op.matmul(rows, matrix)), (*front, bins, 2)))
    back = [*order, axis]
    return relax.op.permute_dims(
        pairs, [*(back.index(each) for each in range(len(shape) - 1)), len(shape) - 1]
    )


def _axis(node: Node) -> int:
    """An attribute before opset 20, an input since."""
    if node.opset < 20:
        return int(node.number("axis", 1))
    return int(node.array(2)) if node.has(2) else -2


def _waves(
    length: int, size: int, bins: int, parts: int, *, is_inverse: bool = False
) -> Array:
    """float64 [length, parts, bins, 2]: what each part of a sample adds to each part of a bin, in
    a transform of ``size``. Samples beyond that add nothing."""
    if parts not in (1, 2):
        raise NotConvertible(f"numbers of {parts} parts")
    if size < 1 or length * parts * bins * 2 > _MOST:
        raise NotConvertible(f"a transform of {size} samples as one product")
    turns = np.outer(np.arange(length), np.arange(bins)) % size / size
    cosine, sine = np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)
    if is_inverse:
        cosine, sine = cosine / size, -sine / size
    real, imaginary = np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)
    waves = np.stack([real, imaginary][:parts], axis=1)
    waves[size:] = 0
    return waves


def _narrow(waves: Array) -> Array:
    return waves.astype(np.float32)
