"""Channels that stand out, and errors that are constant shifts."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from hago.calibrate.channels import ChannelObserver
from hago.dataflow import read_dataflow
from hago.diagnose.channels import activation_spread, shift_share, weight_spread
from hago.scheme import INT8, PerAxis, QuantScheme, fill_scheme
from tests.graphs import Builder


def channels_of(values):
    observer = ChannelObserver()
    observer.observe(np.asarray(values, np.float32))
    return observer.stats()


def test_a_channel_that_stands_out_is_counted_and_its_cost_told():
    reach = np.array([1.0] * 9 + [50.0])
    spread = activation_spread(channels_of(np.stack([-reach, reach])), 100 / 255, 255)
    assert (spread.outliers, spread.channels, spread.ratio) == (1, 10, 50.0)
    # One step of 100/255 for all; alone nine channels would have 2/255 and one 100/255.
    own = np.mean(np.square([2 / 255] * 9 + [100 / 255]))
    assert spread.gain_db == pytest.approx(10 * np.log10((100 / 255) ** 2 / own))


def test_channels_alike_would_gain_nothing():
    spread = activation_spread(channels_of([[-1.0] * 4, [1.0] * 4]), 2 / 255, 255)
    assert (spread.outliers, spread.ratio) == (0, 1.0)
    assert spread.gain_db == pytest.approx(0.0)


def test_dead_channels_are_no_measure():
    spread = activation_spread(channels_of(np.zeros((2, 3))), 1.0, 255)
    assert (spread.ratio, spread.outliers, spread.gain_db) == (1.0, 0, 0.0)


def test_a_weight_with_one_scale_is_compared_by_its_outputs():
    weight = np.ones((4, 10), np.float32)
    weight[:, 0] = 50
    per_tensor = fill_scheme(QuantScheme(INT8), weight.min(), weight.max())
    assert weight_spread(weight, per_tensor).outliers == 1
    by_output = fill_scheme(QuantScheme(INT8, PerAxis(1)), weight.min(0), weight.max(0))
    assert weight_spread(weight, by_output).outliers == 0


def test_a_depthwise_weight_has_no_inputs_to_tell_apart():
    weight = np.ones((8, 3, 3, 1), np.float32)
    ones = np.ones(8)
    assert weight_spread(weight, fill_scheme(QuantScheme(INT8, PerAxis(0)), ones, ones)) is None


def product(values, weight):
    """The node of a matmul of ``weight`` [K, N]."""
    b = Builder(1, *np.shape(values))
    module = b.done(b.emit("matmul", relax.op.matmul(b.input, relax.const(weight))))
    return read_dataflow(module).by_name()["matmul"]


@pytest.mark.parametrize(("mean", "low", "high"), [(0.0, 0.0, 0.02), (5.0, 0.9, 1.0)])
def test_the_shift_is_what_a_bias_could_take_away(mean, low, high):
    random = np.random.default_rng(0)
    values = (random.normal(size=(4000, 16)) + mean).astype(np.float32)
    weight = random.normal(size=(16, 8)).astype(np.float32)
    error = (0.01 * random.normal(size=weight.shape)).astype(np.float32)
    found = shift_share(product(values, weight), error, channels_of(values))
    outputs = values @ error
    expected = np.square(outputs.mean(axis=0)).sum() / np.square(outputs).mean(axis=0).sum()
    assert found == pytest.approx(expected, abs=0.02)
    assert low <= found <= high


def test_the_shift_of_a_convolution_in_groups_is_that_of_its_channels():
    b = Builder(1, 6, 6, 4)
    module = b.done(b.conv("conv2d", b.input, 4, kernel=1, groups=4))
    node = read_dataflow(module).by_name()["conv2d"]
    values = np.random.default_rng(0).normal(size=(500, 4)) * 0.1 + [0, 0, 0, 9]
    error = np.zeros((4, 1, 1, 1), np.float32)
    error[0] = 1  # reads the channel without a mean
    assert shift_share(node, error, channels_of(values)) < 0.05
    error[:] = 0
    error[3] = 1  # reads the one with a mean of 9
    assert shift_share(node, error, channels_of(values)) > 0.99
