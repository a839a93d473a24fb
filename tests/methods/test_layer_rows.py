"""A layer on drawn rows computes what the layer computes at those positions."""

import pytest
from tvm import relax

from hago.dataflow import read_dataflow
from hago.gradient import read_program, run_steps
from hago.methods.blocks import single_layers
from hago.methods.descent import seeded
from hago.methods.layer_rows import layer_rows, product
from hago.methods.reconstruction import BlockData
from hago.methods.streams import Kept
from tests.graphs import Builder

torch = pytest.importorskip("torch")

CONVOLUTIONS = {
    "dense": dict(out=6, kernel=3, padding=1),
    "strided": dict(out=6, kernel=3, strides=2, padding=(0, 0, 1, 1)),
    "grouped": dict(out=6, kernel=1, groups=2),
    "depthwise": dict(out=4, kernel=3, groups=4, dilation=2, padding=2),
}


def convolution(out, kernel, **attrs):
    b = Builder(1, 9, 8, 4)
    conv = b.conv("layer", b.input, out, kernel, **attrs)
    biased = b.emit("bias", relax.op.add(conv, b.const(out)))
    return b.done(b.emit("relu", relax.op.nn.relu(biased)))


def matrix():
    b = Builder(1, 7, 4)
    return b.done(b.emit("gelu", relax.op.nn.gelu(b.dense("layer", b.input, 6))))


MODULES = {name: convolution(**how) for name, how in CONVOLUTIONS.items()} | {"matmul": matrix()}


@pytest.mark.parametrize("name", MODULES)
def test_all_rows_give_all_outputs(name):
    module = MODULES[name]
    program = read_program(module)
    (block,) = (b for b in single_layers(read_dataflow(module)) if b.layers)
    steps = tuple(program.steps[name] for name in block.nodes)
    shape = [int(extent) for extent in module["main"].params[0].ty.shape]
    values = {"x": torch.randn((3, *shape), generator=seeded(1))}
    joined = {"x": values["x"].flatten(0, 1)} if name != "matmul" else values
    target = run_steps(steps, joined, {})[block.output]
    kept = {"x": Kept(values["x"])}
    data = BlockData(block, steps, kept, kept, Kept(target))
    rows = layer_rows(data, lambda real: real * 2, {}, 10**6, seeded(0))
    weight = torch.from_numpy(steps[0].node.constants[1].copy())
    found = rows.finish(product(rows.exact, rows.to_rows(weight)))
    expected = target.reshape(-1, target.shape[-1])
    # Rows are drawn without replacement, so sorted columns hold the same numbers.
    columns = found.permute(1, 0, 2).reshape(len(expected), -1)
    torch.testing.assert_close(columns.sort(0).values, expected.sort(0).values)
    assert torch.equal(rows.quantized, rows.exact * 2)
    assert torch.equal(rows.from_rows(rows.to_rows(weight)), weight)


def test_no_more_rows_are_drawn_than_asked_for():
    module = MODULES["dense"]
    program = read_program(module)
    (block,) = (b for b in single_layers(read_dataflow(module)) if b.layers)
    steps = tuple(program.steps[name] for name in block.nodes)
    values = {"x": Kept(torch.zeros((3, 1, 9, 8, 4)))}
    data = BlockData(block, steps, values, values, values["x"])
    assert layer_rows(data, lambda real: real, {}, 5, seeded(0)).count == 5


def test_rows_of_padding_are_not_drawn():
    module = MODULES["matmul"]
    program = read_program(module)
    (block,) = (b for b in single_layers(read_dataflow(module)) if b.layers)
    steps = tuple(program.steps[name] for name in block.nodes)
    shape = [int(extent) for extent in module["main"].params[0].ty.shape]
    positions = steps[0].node.constants[1].shape[0]
    rows = torch.arange(3.0 * shape[-2]).reshape(3, *shape[:-1], 1)
    values = {"x": Kept(rows.expand(3, *shape[:-1], positions).contiguous())}
    counted = torch.zeros((3, shape[-2]), dtype=torch.bool)
    counted[0, 1] = counted[2, 0] = True
    data = BlockData(block, steps, values, values, values["x"], counted=counted)
    drawn = layer_rows(data, lambda real: real, {}, 10**6, seeded(0)).exact
    assert drawn[0, :, 0].tolist() == [1.0, 2.0 * shape[-2]]
