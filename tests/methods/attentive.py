"""Attention with three heads between layers of its own, and texts for it."""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from hago.prepare import prepare
from hago.sample import Sample
from tests.graphs import Builder

op = relax.op
TOKENS, WIDTH, HEADS = 16, 24, 3
NAMED = {"hago.input_names": ["x"], "hago.output_names": ["y"]}


def heads_of(b: Builder, name: str, axes: tuple[int, ...]) -> relax.Var:
    """A layer with its bias, cut into heads."""
    own = b.emit(f"{name}_bias", op.add(b.dense(name, b.input, WIDTH), b.const(WIDTH)))
    cut = b.emit(f"{name}_cut", op.reshape(own, (1, TOKENS, HEADS, WIDTH // HEADS)))
    return b.emit(f"{name}_heads", op.permute_dims(cut, axes))


def network(read_again: str | None = None) -> ir.IRModule:
    """The prepared module; ``read_again`` is a tensor that is a result, too."""
    return prepare(spelled_out(read_again))


def spelled_out(read_again: str | None = None) -> ir.IRModule:
    """The same with a softmax, and with names."""
    b = Builder(1, TOKENS, WIDTH)
    query, value = (heads_of(b, name, (0, 2, 1, 3)) for name in ("query", "value"))
    scores = op.matmul(query, heads_of(b, "key", (0, 2, 3, 1)))
    scaled = b.emit("scaled", op.multiply(b.emit("scores", scores), relax.const(np.float32(0.1))))
    masked = b.emit("masked", op.add(scaled, b.const(1, 1, 1, TOKENS)))
    shares = b.emit("shares", op.nn.softmax(masked))
    mixed = b.emit("mixed", op.permute_dims(b.emit("per_head", op.matmul(shares, value)),
                                            (0, 2, 1, 3)))  # fmt: skip
    joined = b.emit("joined", op.reshape(mixed, (1, TOKENS, WIDTH)))
    out = b.emit("out_bias", op.add(b.dense("out", joined, WIDTH), b.const(WIDTH)))
    again = {"scores": scaled, "value": value}.get(read_again or "")
    module = b.done(out, *([again] if again is not None else []))
    module["main"] = module["main"].with_attr(NAMED)
    return module


def texts(count: int, seed: int, first: float | None = None) -> list[Sample]:
    """Normal values; with ``first`` the first token is the same in all, so many times as large."""
    random = np.random.default_rng(seed)
    found = random.normal(size=(count, 1, TOKENS, WIDTH)).astype("float32")
    if first is not None:
        found[:, :, 0] = first * np.random.default_rng(99).normal(size=WIDTH)
    return [{"x": each} for each in found]
