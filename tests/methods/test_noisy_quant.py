"""noisy_quant: a noise that is taken away again makes errors even, where they are not."""

import numpy as np
import pytest
from tvm import relax

from hago.annotate import annotate
from hago.calibrate import Stats
from hago.dataflow import read_dataflow
from hago.errors import DataError
from hago.methods.noisy_quant import NoisyQuant
from hago.prepare import prepare
from hago.realize.interpret import interpret
from tests.graphs import Builder, machine
from tests.methods.attentive import NAMED
from tests.methods.few_bits import quantized

CHANNELS, OUTPUTS, BITS, STEP = 256, 16, 6, 0.1


def dense():
    b = Builder(1, 32, CHANNELS)
    module = b.done(b.dense("matmul", b.emit("relu", relax.op.nn.relu(b.input)), OUTPUTS))
    module["main"] = module["main"].with_attr(NAMED)
    return prepare(module)


def reaching_far(values):
    """``values`` that are no less than 0, the largest with the last code of ``STEP``."""
    values[0, 0, :4] = STEP * (2**BITS - 1)
    return np.maximum(values, 0).astype(np.float32)


def crowded(seed=0):
    """Values that crowd a third of a step above zero (as after GELU)."""
    random = np.random.default_rng(seed)
    return reaching_far(random.normal(0.33 * STEP, 0.05 * STEP, (1, 32, CHANNELS)))


def at_two_places(seed=0):
    """Values on codes and halfway between two: moved by half a step they are no better."""
    places = np.random.default_rng(seed).choice([0, 0.49], (1, 32, CHANNELS))
    return reaching_far(places * STEP)


def even(seed=0):
    """Values that lie anywhere between codes."""
    return reaching_far(np.random.default_rng(seed).uniform(0, 9 * STEP, (1, 32, CHANNELS)))


def noised(values, options="", bits=BITS):
    samples = [{"x": values(seed)} for seed in range(4)]
    return quantized(dense(), samples, f"min_max,noisy_quant{options}", bits)


def noise_in(model):
    """What is added to the input of the product, in steps of its codes, [C]."""
    (node,) = (n for n in read_dataflow(model.graph.module).nodes if n.name.startswith("add")
               and n.shape[-1] == CHANNELS)  # fmt: skip
    return np.broadcast_to(node.constants[1].reshape(-1), CHANNELS) / STEP


def test_the_float_model_stays():
    after = noised(crowded).graph.module
    inputs = {"x": crowded(9)}
    (got,), (expected,) = interpret(after, inputs), interpret(dense(), inputs)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_errors_of_crowded_values_no_longer_add_up():
    # Liu et al., theorem 1 and figure 2. All values of 0.33 steps are rounded to zero without it.
    model, seen = noised(crowded), crowded(9)
    quant = next(quant for edge, quant in model.quants.items() if edge.src.startswith("add"))
    weight = np.abs(read_dataflow(dense()).by_name()["matmul"].constants[1])

    def error(noise):
        moved = (seen + noise * STEP).astype(np.float32)
        return np.square((quant.decode(quant.encode(moved)) - moved) @ weight).mean()

    assert error(noise_in(model)) < error(np.zeros(CHANNELS)) / 10


def test_even_values_are_left_alone():
    assert np.abs(noise_in(noised(even))).max() < 1e-3


def test_little_that_is_won_is_left():
    assert np.abs(noise_in(noised(crowded, "(gain=1e9)"))).max() < 1e-3


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_draws_a_noise_of_each_channel(seed):
    options = (f"(tries=2,seed={each})" for each in (seed, seed, seed + 1))
    first, again, other = (noise_in(noised(at_two_places, each)) for each in options)
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first)) == len(np.unique(other)) == CHANNELS
    assert 0.4 < np.ptp(first) / 2 <= 1
    assert np.abs(first - other).max() > 0.2


def test_without_samples_it_says_what_it_needs_them_for():
    with pytest.raises(DataError, match="noisy_quant: no calibration data"):
        NoisyQuant().apply(noised(crowded), Stats({}, 0))


def test_convolutions_get_none():
    b = Builder(1, 6, 6, 4)
    module = b.done(b.conv("conv2d", b.emit("relu", relax.op.nn.relu(b.input)), 4, padding=1))
    assert NoisyQuant().tensors(annotate(module, machine())) == ()
