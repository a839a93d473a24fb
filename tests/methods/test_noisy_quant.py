"""noisy_quant: a noise that is taken away again makes errors even."""

import numpy as np
import pytest
from tvm import relax

from hago.annotate import annotate
from hago.annotate.narrow import MACHINE_FORMAT
from hago.calibrate.channels import ChannelObserver
from hago.dataflow import read_dataflow
from hago.methods.noisy_quant import NoisyQuant
from hago.prepare import prepare
from hago.realize.interpret import interpret
from tests.graphs import Builder, machine

CHANNELS, OUTPUTS, BITS = 256, 16, 6


def dense():
    b = Builder(1, 32, CHANNELS)
    return prepare(b.done(b.dense("matmul", b.emit("relu", relax.op.nn.relu(b.input)), OUTPUTS)))


def stats(values):
    observer = ChannelObserver()
    observer.observe(values)
    return {"relu": observer.stats()}


def noisy(module, values, **options):
    graph = annotate(module, machine())
    return NoisyQuant(bits=BITS, **options).reshape(graph, stats(values), MACHINE_FORMAT)


def crowded(step, rows=32):
    """Values that crowd a third of a step above zero, and a few that reach far (as after GELU)."""
    random = np.random.default_rng(0)
    values = random.normal(0.33 * step, 0.05 * step, (1, rows, CHANNELS))
    values[0, 0, :4] = step * (2**BITS - 1)
    return np.maximum(values, 0).astype(np.float32)


def test_the_float_model_stays():
    module, values = dense(), crowded(0.1)
    after = noisy(module, values)
    (got,), (expected,) = interpret(after, {"x": values}), interpret(module, {"x": values})
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_the_noise_is_drawn_by_channel_within_its_width():
    values = crowded(0.1)
    module = noisy(dense(), values)
    added = next(n for n in read_dataflow(module).nodes if n.op == "add")
    noise = added.constants[1].reshape(-1)
    assert len(np.unique(noise)) == CHANNELS
    assert 0.04 < np.abs(noise).max() <= 0.05 * 1.001  # half of a step


def test_without_width_nothing_changes():
    module = dense()
    assert noisy(module, crowded(0.1), width=0.0) is module


def test_errors_of_crowded_values_no_longer_add_up():
    # Liu et al., theorem 1 and figure 2. All values of 0.33 steps are rounded to zero without it.
    step = 0.1
    values = crowded(step)
    weight = np.abs(read_dataflow(dense()).by_name()["matmul"].constants[1])
    noise = next(n for n in read_dataflow(noisy(dense(), values)).nodes if n.op == "add")

    def error(shift):
        rounded = np.clip(np.rint((values + shift) / step), 0, 2**BITS - 1) * step - shift
        return np.square((rounded - values) @ weight).mean()

    assert error(noise.constants[1]) < error(0.0) / 10


def test_convolutions_get_none():
    b = Builder(1, 6, 6, 4)
    module = b.done(b.conv("conv2d", b.emit("relu", relax.op.nn.relu(b.input)), 4, padding=1))
    assert NoisyQuant().tensors(annotate(module, machine())) == ()


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_draws_the_noise(seed):
    module, values = dense(), crowded(0.1)
    first, again, other = (
        str(next(n for n in read_dataflow(noisy(module, values, seed=each)).nodes if n.op == "add")
            .constants[1][..., 0])
        for each in (seed, seed, seed + 1)
    )  # fmt: skip
    assert first == again != other
