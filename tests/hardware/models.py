"""Small networks that together hold every operator of the specification words."""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from tests.graphs import Builder, attention, residual_network


def pools_and_moves(seed: int = 0) -> ir.IRModule:
    """Grouped convolution, maximum and mean of windows, resampling, splitting, a table."""
    b = Builder(1, 12, 12, 4, seed=seed)
    stem = b.emit("relu", relax.op.nn.relu(b.conv("conv2d", b.input, 8, padding=1, strides=2)))
    pool = b.emit("pool", relax.op.nn.max_pool2d(stem, (2, 2), (2, 2), layout="NHWC"))
    grouped = b.conv("conv2d_1", pool, 8, padding=1, groups=2)
    large = b.emit("resize", relax.op.image.resize2d(
        grouped, (6, 6), layout="NHWC", method="nearest_neighbor", rounding_method="floor",
        coordinate_transformation_mode="asymmetric"))  # fmt: skip
    # Two readers: the tensor lies in memory, so its sigmoid is a table of 256 codes.
    gate = b.emit("sigmoid", relax.op.sigmoid(large))
    gated = b.emit("multiply", relax.op.multiply(b.conv("conv2d_2", gate, 8, kernel=1), large))
    halves = b.emit("split", relax.op.split(gated, 2, axis=3))
    left = b.emit("left", relax.TupleGetItem(halves, 0))
    right = b.emit("right", relax.TupleGetItem(halves, 1))
    window = relax.op.nn.avg_pool2d(b.conv("conv2d_3", left, 4, kernel=1), (2, 2), (2, 2),
                                    layout="NHWC")  # fmt: skip
    cut = b.emit("slice", relax.op.strided_slice(
        b.conv("conv2d_4", right, 4, kernel=1), [1, 2], [0, 0], [6, 6], [2, 2]))  # fmt: skip
    joined = b.emit("concat", relax.op.concat([b.emit("mean", window), cut], axis=3))
    flat = b.emit("reshape", relax.op.reshape(joined, (1, 72)))
    return b.done(b.dense("matmul", flat, 5))


def transformer_block(seed: int = 0) -> ir.IRModule:
    """Two heads, softmax, residual additions, layer normalisations, a feed-forward with GELU."""
    b = Builder(1, 8, 16, seed=seed)
    norm = _normalised(b, "layer_norm", b.input)
    query, key, value = (
        _heads(b, name, b.dense(f"{name}_dense", norm, 16)) for name in ("query", "key", "value")
    )
    turned = b.emit("turned", relax.op.permute_dims(key, (0, 1, 3, 2)))
    scores = b.emit("scores", relax.op.matmul(query, turned))
    scaled = b.emit("scaled", relax.op.multiply(scores, relax.const(np.float32(8**-0.5))))
    turned = b.emit("joined", relax.op.permute_dims(b.attend(scaled, value), (0, 2, 1, 3)))
    merged = b.dense("out", b.emit("merged", relax.op.reshape(turned, (1, 8, 16))), 16)
    middle = b.emit("add", relax.op.add(b.input, merged))
    hidden = b.dense("up", _normalised(b, "layer_norm_1", middle), 32)
    biased = b.emit("add_1", relax.op.add(hidden, b.const(32)))
    down = b.dense("down", b.emit("gelu", relax.op.nn.gelu(biased)), 16)
    return b.done(b.emit("add_2", relax.op.add(middle, down)))


def _normalised(b: Builder, name: str, data: relax.Expr) -> relax.Expr:
    gamma, beta = b.const(16), b.const(16)
    return b.emit(name, relax.op.nn.layer_norm(data, gamma, beta, axes=[-1]))


def _heads(b: Builder, name: str, data: relax.Expr) -> relax.Expr:
    """``[1, 8, 16]`` as two heads ``[1, 2, 8, 8]``."""
    split = b.emit(f"{name}_split", relax.op.reshape(data, (1, 8, 2, 8)))
    return b.emit(name, relax.op.permute_dims(split, (0, 2, 1, 3)))


MODELS = {
    "residual": residual_network,
    "attention": attention,
    "pools and moves": pools_and_moves,
    "transformer block": transformer_block,
}
