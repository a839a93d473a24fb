"""The dense half of a transformer's block, and data whose channels differ as they do there."""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from hago.prepare.scale_channels import ChannelScale, scale_channels
from hago.sample import Sample
from tests.graphs import Builder

op = relax.op
WIDTH, HIDDEN = 32, 64


def feed_forward() -> ir.IRModule:
    """GELU between two products, after a layer normalisation; heavy tails in the hidden layer."""
    b = Builder(1, 16, WIDTH)
    ones, zeros = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
    norm = b.emit("norm", op.nn.layer_norm(
        b.input, relax.const(ones), relax.const(zeros), axes=[-1]))  # fmt: skip
    small = relax.const(np.float32(0.3))
    up = b.emit("scaled", op.multiply(b.dense("up", norm, HIDDEN), small))
    module = b.done(b.dense("down", b.emit("gelu", op.nn.gelu(up)), WIDTH))
    names = {"hago.input_names": ["x"], "hago.output_names": ["y"]}
    module["main"] = module["main"].with_attr(names)
    return module


def with_outliers(module: ir.IRModule, factor: float = 40.0) -> ir.IRModule:
    """The same function: two channels of "norm" are ``factor`` times as large where the product
    reads them, and its weights as much smaller."""
    scale = np.ones(WIDTH, np.float32)
    scale[[3, 17]] = 1 / factor
    return scale_channels(module, {"norm": ChannelScale(scale, np.zeros(WIDTH, np.float32))})


def texts(count: int, seed: int) -> list[Sample]:
    """Normal values for the input."""
    random = np.random.default_rng(seed)
    return [{"x": random.normal(size=(1, 16, WIDTH)).astype("float32")} for _ in range(count)]
