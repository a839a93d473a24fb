"""channel_splitting: channels that stand out become several."""

import numpy as np
import pytest
from tvm import relax

from hago.annotate import annotate
from hago.annotate.narrow import MACHINE_FORMAT
from hago.calibrate.channels import ChannelObserver
from hago.dataflow import read_dataflow
from hago.methods.channel_splitting import ChannelSplitting, spend
from tests.graphs import Builder, all_values, machine

OUTLIER = np.float32([1, 1, 1, 40, 1, 1, 1, 1] * 4)

HALF = ChannelSplitting(share=0.5)


def hidden_layer(scale=OUTLIER):
    """32 hidden channels of which a few stand out, and what is seen of them."""
    b = Builder(1, 64, 8)
    product = b.emit("scaled", relax.op.multiply(b.dense("up", b.input, 32), relax.const(scale)))
    module = b.done(b.dense("down", b.emit("relu", relax.op.nn.relu(product)), 4))
    values = all_values(module, {"x": np.random.default_rng(0).normal(size=(1, 64, 8))
                                 .astype("float32")})  # fmt: skip
    observer = ChannelObserver()
    observer.observe(values["relu"])
    return annotate(module, machine()), {"relu": observer.stats()}


def test_the_largest_part_is_split_again_and_again():
    assert spend(np.array([1.0, 9.0, 4.0]), 4).tolist() == [1, 4, 2]


def test_outlying_channels_are_split_into_whole_vectors_of_channels():
    graph, channels = hidden_layer()
    module = HALF.reshape(graph, channels, MACHINE_FORMAT)
    up = next(node for node in read_dataflow(module).nodes if node.op == "matmul")
    assert up.constants[1].shape == (8, 48)


def last_product(module):
    """What reads the hidden channels."""
    return [node for node in read_dataflow(module).nodes if node.op == "matmul"][-1]


def test_the_range_shrinks_and_no_weight_grows():
    graph, channels = hidden_layer()
    modules = (graph.module, HALF.reshape(graph, channels, MACHINE_FORMAT))
    before, after = (np.abs(last_product(module).constants[1]).max() for module in modules)
    assert after == before
    sample = {"x": np.random.default_rng(0).normal(size=(1, 64, 8)).astype("float32")}
    wide, narrow = (all_values(m, sample)[last_product(m).inputs[0]].max() for m in modules)
    # 16 more channels among four that reach furthest: about five parts of each.
    assert narrow < wide / 3


def test_even_channels_are_left_alone():
    graph, _ = hidden_layer()
    observer = ChannelObserver()
    observer.observe(np.random.default_rng(0).uniform(size=(512, 32)))
    channels = {"relu": observer.stats()}
    assert HALF.reshape(graph, channels, MACHINE_FORMAT) is graph.module


def test_a_padded_convolution_gets_no_offsets():
    b = Builder(1, 6, 6, 4)
    product = b.conv("up", b.input, 8, kernel=1)
    scaled = b.emit("scaled", relax.op.multiply(product, relax.const(OUTLIER[:8])))
    hidden = b.emit("relu", relax.op.nn.relu(scaled))
    graph = annotate(b.done(b.conv("down", hidden, 4, padding=1)), machine())
    observer = ChannelObserver()
    observer.observe(np.ones((4, 8), np.float32) * OUTLIER[:8])
    module = ChannelSplitting(share=2.0).reshape(graph, {"relu": observer.stats()}, MACHINE_FORMAT)
    assert "add" not in [node.op for node in read_dataflow(module).nodes]


def test_the_tensor_between_two_products_is_looked_at():
    graph, _ = hidden_layer()
    assert HALF.tensors(graph) == ("relu",)


@pytest.mark.parametrize("share", [0.0, 0.4])  # less than a vector of 16 of 32 channels
def test_with_nothing_to_spend_nothing_changes(share):
    graph, channels = hidden_layer()
    assert ChannelSplitting(share=share).tensors(graph) == ()
    assert ChannelSplitting(share=share).reshape(graph, channels, MACHINE_FORMAT) is graph.module
