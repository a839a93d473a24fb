"""What the default recipe learns from few rows holds on others."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from hago.hardware.load import load_spec
from hago.methods.facts import facts_of
from hago.methods.pick import pick_methods
from hago.pipeline import DEFAULT_RECIPE
from hago.prepare import prepare
from tests.graphs import Builder
from tests.methods.attentive import NAMED
from tests.methods.few_bits import fidelity

WIDTH = 640  # with fewer channels none is split


def decoder_step():
    """One token: each sample is a single row of what the layers read."""
    b = Builder(1, WIDTH)
    scale = relax.const(np.float32(WIDTH**-0.5))
    norm = b.emit("norm", relax.op.nn.rms_norm(b.input, relax.const(np.ones(WIDTH, "float32")),
                                               [-1], 1e-6))  # fmt: skip
    hidden = b.emit("scaled", relax.op.multiply(b.dense("up", norm, WIDTH), scale))
    gelu = b.emit("gelu", relax.op.nn.gelu(hidden))
    module = b.done(b.dense("down", gelu, 16))
    module["main"] = module["main"].with_attrs(NAMED)
    return prepare(module)


def samples(count, seed):
    values = np.random.default_rng(seed).normal(size=(count, 1, WIDTH)).astype(np.float32)
    return [{"x": value} for value in values]


@pytest.mark.parametrize("count", [1, 2, 8, 32])
def test_the_default_recipe_is_no_worse_than_plain_ranges_with_few_rows(count):
    module, seen, others = decoder_step(), samples(count, 1), samples(64, 2)
    methods = pick_methods(DEFAULT_RECIPE, facts_of(module, 8, load_spec("x86-vnni"))).methods
    plain = fidelity(module, "mse", 8, seen, others)
    chosen = fidelity(module, methods, 8, seen, others)
    assert chosen > plain - 0.5  # dB
