"""smooth_attention: queries, keys and values that stand out cost nothing, and nothing changes."""

from functools import cache

import numpy as np
import pytest

from hago.annotate import annotate
from hago.annotate.narrow import MACHINE_FORMAT
from hago.calibrate.channels import ChannelObserver
from hago.dataflow import read_dataflow
from hago.methods.attention import find_attention
from hago.methods.smooth_attention import SmoothAttention
from hago.prepare import prepare
from hago.prepare.scale_channels import ChannelScale, scale_inside
from tests.graphs import all_values, machine, residual_network
from tests.methods.attentive import WIDTH, network, spelled_out, texts
from tests.methods.few_bits import fidelity


def with_outliers():
    """Keys and values far from zero, values of two channels 20 times as large as the others."""
    wide, far = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)
    wide[[3, 17]], far[[5, 6]] = 1 / 20, 30.0
    keys = ChannelScale(np.ones(WIDTH, np.float32), far)
    values = ChannelScale(wide, far)
    harmed = scale_inside(spelled_out(), {"key_bias": keys, "value_bias": values}, {"out": values})
    return prepare(harmed)


def smoothed(module):
    graph = annotate(module, machine())
    method, seen = SmoothAttention(), {}
    for name in method.tensors(graph):
        seen[name] = ChannelObserver()
        for sample in texts(8, 1):
            seen[name].observe(all_values(module, sample)[name])
    channels = {name: each.stats() for name, each in seen.items()}
    return method.reshape(graph, channels, MACHINE_FORMAT)


def results(module, samples):
    (name,) = read_dataflow(module).outputs
    return np.concatenate([all_values(module, sample)[name] for sample in samples])


@pytest.mark.parametrize("harmed", [False, True])
def test_the_network_computes_the_same(harmed):
    module = with_outliers() if harmed else network()
    samples = texts(4, 2)
    np.testing.assert_allclose(
        results(smoothed(module), samples), results(module, samples), atol=2e-4
    )


def test_it_adds_no_operation():
    module = network()
    before, after = (
        [node.op for node in read_dataflow(each).nodes] for each in (module, smoothed(module))
    )
    assert before == after


def test_queries_and_keys_get_equal_ranges_and_keys_and_values_are_centred():
    module = smoothed(network())
    (found,) = find_attention(read_dataflow(module))
    values = [all_values(module, sample) for sample in texts(8, 1)]
    query, key, value = (
        np.concatenate([each[name].reshape(-1, WIDTH) for each in values])
        for name in (found.query, found.key, found.value)
    )
    reach = np.abs(query).max(0)[found.meets]
    np.testing.assert_allclose(np.abs(key).max(0), reach, rtol=1e-3)
    for centred in (key, value):
        np.testing.assert_allclose(centred.max(0), -centred.min(0), rtol=1e-2, atol=1e-3)


@cache
def decibels(recipe, *, harmed):
    module = with_outliers() if harmed else network()
    return fidelity(module, recipe, 8, texts(64, 1), texts(32, 2))


def test_injected_outliers_cost_nothing_any_more():
    pytest.importorskip("torch")
    before, broken = decibels("min_max", harmed=False), decibels("min_max", harmed=True)
    assert broken < before - 6
    # Less than half a bit from where it was before there were any.
    assert decibels("smooth_attention,min_max", harmed=True) > before - 3


@pytest.mark.parametrize("tensor", ["scores", "value"])
def test_attention_whose_tensors_others_read_is_left_alone(tensor):
    module = network(read_again=tensor)
    assert find_attention(read_dataflow(module)) == ()
    assert smoothed(module) is module


def test_a_convolutional_network_has_none():
    module = residual_network()
    assert smoothed(module) is module
