"""Blocks come from the graph's topology."""

import numpy as np
import pytest
from tvm import relax

from hago.dataflow import read_dataflow
from hago.methods.blocks import residual_blocks, single_layers
from tests.graphs import Builder, attention, residual_network


def layers_of(partition, module):
    return [block.layers for block in partition(read_dataflow(module)) if block.layers]


def bottlenecks():
    """Two inverted bottlenecks without a shortcut, then one with."""
    b = Builder(1, 8, 8, 4)

    def relu(name, value):
        return b.emit(f"{name}_relu", relax.op.nn.relu(value))

    def bottleneck(name, data):
        wide = relu(name, b.conv(f"{name}_expand", data, 8, kernel=1))
        deep = relu(f"{name}_d", b.conv(f"{name}_depth", wide, 8, padding=1, groups=8))
        return b.conv(f"{name}_project", deep, 4, kernel=1)

    first = bottleneck("a", b.input)
    second = bottleneck("b", first)
    return b.done(b.emit("join", relax.op.add(second, bottleneck("c", second))))


@pytest.mark.parametrize("partition", [single_layers, residual_blocks])
@pytest.mark.parametrize("build", [residual_network, attention, bottlenecks])
def test_every_operation_is_in_one_block_and_after_what_it_reads(partition, build):
    dataflow = read_dataflow(build())
    order = [name for block in partition(dataflow) for name in block.nodes]
    assert sorted(order) == sorted(node.name for node in dataflow.nodes)
    place = {name: number for number, name in enumerate(order)}
    for node in dataflow.nodes:
        assert all(place.get(name, -1) < place[node.name] for name in node.inputs)


@pytest.mark.parametrize("partition", [single_layers, residual_blocks])
@pytest.mark.parametrize("build", [residual_network, attention, bottlenecks])
def test_only_the_output_of_a_block_is_read_outside(partition, build):
    dataflow = read_dataflow(build())
    users = dataflow.users()
    for block in partition(dataflow):
        for name in block.nodes[:-1]:
            assert {reader for reader, _ in users[name]} <= set(block.nodes)


def test_a_single_layer_takes_its_bias_and_activation():
    blocks = single_layers(read_dataflow(residual_network()))
    assert ("conv2d", "add", "relu") in [block.nodes for block in blocks]


def test_a_constant_for_each_position_ends_a_layer():
    b = Builder(1, 8, 8, 4)
    conv = b.conv("conv", b.input, 4, padding=1)
    moved = b.emit("position", relax.op.add(conv, relax.const(np.ones((8, 8, 4), np.float32))))
    blocks = single_layers(read_dataflow(b.done(moved)))
    assert ("conv",) in [block.nodes for block in blocks]


def test_bottlenecks_are_blocks_with_and_without_a_shortcut():
    assert layers_of(residual_blocks, bottlenecks()) == [
        (f"{name}_expand", f"{name}_depth", f"{name}_project") for name in "abc"
    ]


def test_paths_that_join_are_one_block():
    first = layers_of(residual_blocks, attention())[0]
    assert first == ("query", "key", "value")


def test_a_block_of_too_many_layers_falls_into_single_ones():
    dataflow = read_dataflow(attention())
    assert [b.layers for b in residual_blocks(dataflow, most=2) if b.layers] == [
        ("query",), ("key",), ("value",), ("out",)
    ]  # fmt: skip


def test_what_depends_on_no_layer_does_not_hide_the_cuts():
    """A mask that every block reads is no path around them."""
    b = Builder(1, 4, 8)
    mask = b.emit("mask", relax.op.multiply(b.input, relax.const(np.float32(2))))
    value = b.input
    for name in "ab":
        value = b.emit(f"{name}_add", relax.op.add(b.dense(name, value, 8), mask))
        value = b.emit(f"{name}_act", relax.op.nn.gelu(value))
    assert layers_of(residual_blocks, b.done(value)) == [("a", "b")]
