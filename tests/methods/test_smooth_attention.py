"""smooth_attention: queries, keys and values that stand out cost nothing, and nothing changes."""

from functools import cache

import numpy as np
import pytest
from tvm import relax

from hago.annotate import annotate
from hago.annotate.narrow import MACHINE_FORMAT
from hago.calibrate.channels import ChannelObserver
from hago.dataflow import read_dataflow
from hago.methods.attention import find_attention
from hago.methods.smooth_attention import SmoothAttention
from hago.prepare import prepare
from hago.prepare.scale_channels import ChannelScale, scale_inside
from tests.graphs import Builder, all_values, machine, residual_network
from tests.methods.few_bits import fidelity

op = relax.op
TOKENS, WIDTH, HEADS = 16, 24, 3
NAMED = {"hago.input_names": ["x"], "hago.output_names": ["y"]}


def heads_of(b, name, axes):
    """A layer with its bias, cut into heads."""
    own = b.emit(f"{name}_bias", op.add(b.dense(name, b.input, WIDTH), b.const(WIDTH)))
    cut = b.emit(f"{name}_cut", op.reshape(own, (1, TOKENS, HEADS, WIDTH // HEADS)))
    return b.emit(f"{name}_heads", op.permute_dims(cut, axes))


def network(read_again=None):
    """Attention with three heads; ``read_again`` is a tensor that is a result, too."""
    return prepare(spelled_out(read_again))


def spelled_out(read_again=None):
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
    again = {"scores": scaled, "value": value}.get(read_again)
    module = b.done(out, *([again] if again is not None else []))
    module["main"] = module["main"].with_attr(NAMED)
    return module


def texts(count, seed):
    random = np.random.default_rng(seed)
    return [{"x": random.normal(size=(1, TOKENS, WIDTH)).astype("float32")} for _ in range(count)]


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
