"""Groups: what belongs to one kernel, and that its expression means what the module means."""

import numpy as np
import pytest
from tvm import relax

from hago.codegen.workload import BatchMatmul, Conv2d, Elementwise, Matmul, Pool2d
from hago.lower.fold import fold_dequantized_weights
from hago.lower.group import find_groups
from hago.lower.view import view_of
from hago.realize import insert_qdq, integerize, realize
from hago.simulate import simulate
from tests.graphs import (
    Builder,
    all_values,
    attention,
    input_for,
    machine,
    quantized,
    residual_network,
)


def groups_of(module, weights=()):
    return find_groups(view_of(fold_dequantized_weights(module), weights))


def steps(group):
    return [step.op for step in group.epilogue.steps]


def test_bias_and_relu_belong_to_their_convolution():
    b = Builder(1, 8, 8, 4)
    y = b.emit("relu", relax.op.nn.relu(b.emit("add", relax.op.add(
        b.conv("conv2d", b.input, 8, padding=1), b.const(8)))))  # fmt: skip
    (group,) = groups_of(b.done(y))
    assert isinstance(group.workload, Conv2d)
    assert steps(group) == ["add", "relu", "multiply_const"]
    assert group.members == {"conv2d", "add", "relu", "result"}


def test_a_group_ends_at_a_value_that_others_read():
    b = Builder(1, 8, 8, 4)
    relu = b.emit("relu", relax.op.nn.relu(b.conv("conv2d", b.input, 4, padding=1)))
    groups = groups_of(b.done(b.conv("conv2d_1", relu, 4), b.emit("exp", relax.op.exp(relu))))
    assert [group.output for group in groups] == ["relu", "result", "result1"]


def test_a_diamond_of_elementwise_operations_is_one_group():
    b = Builder(1, 8, 8, 4)
    x = b.conv("conv2d", b.input, 8)
    gate = b.emit("clip", relax.op.clip(b.emit("add", relax.op.add(x, relax.const(3.0))), 0, 6))
    (group,) = groups_of(b.done(b.emit("multiply", relax.op.multiply(x, gate))))
    assert steps(group) == ["add_const", "clip", "multiply", "multiply_const"]


def test_where_two_convolutions_meet_the_later_one_adds_what_the_other_left_as_codes():
    b = Builder(1, 8, 8, 4)
    pair = [b.conv(name, b.input, 8, padding=1) for name in ("conv2d", "conv2d_1")]
    total = b.emit("add", relax.op.add(*pair))
    module = b.done(b.conv("conv2d_2", total, 4))
    groups = groups_of(realize(quantized(module, machine(), input_for(module))))
    first, second, _ = (group for group in groups if isinstance(group.workload, Conv2d))
    assert first.epilogue.dtype == "uint8"
    assert first.output in [each for each in second.operands if isinstance(each, str)]


def test_a_residual_is_an_operand_of_the_last_convolution():
    b = Builder(2, 8, 8, 4)
    y = b.emit("add", relax.op.add(b.conv("conv2d", b.input, 4, padding=1), b.input))
    (group,) = groups_of(b.done(y))
    assert group.operands == ("x",)
    assert [operand.shape for operand in group.epilogue.operands] == [(2, 8, 8, 4)]


def test_a_group_ends_at_codes_and_readers_compute_their_real_values():
    module = residual_network()
    qdq = insert_qdq(quantized(module, machine(), input_for(module)))
    groups = groups_of(qdq)
    first = next(g for g in groups if g.anchor == "conv2d")
    residual = next(g for g in groups if g.anchor == "conv2d_1")
    assert first.epilogue.dtype == "uint8"
    assert first.output in [source for source in residual.operands if isinstance(source, str)]


def test_broadcast_growth_ends_a_group():
    b = Builder(1, 8, 8, 4)
    mean = b.emit("mean", relax.op.mean(b.input, [1, 2], keepdims=True))
    gate = b.emit("sigmoid", relax.op.sigmoid(mean))
    groups = groups_of(b.done(b.emit("multiply", relax.op.multiply(b.input, gate))))
    assert [type(group.workload) for group in groups] == [Pool2d, Elementwise]
    assert groups[0].output == "sigmoid"


@pytest.mark.parametrize(
    ("axes", "image"),
    [((1, 2), (2, 3, 4, 5)), ((2,), (6, 4, 1, 5)), ((0,), (1, 2, 1, 60)), ((0, 1), (1, 2, 3, 20))],
)
def test_a_sum_over_axes_in_front_of_the_last_is_one_window(axes, image):
    b = Builder(2, 3, 4, 5)
    total = b.emit("sum", relax.op.sum(b.input, axis=axes))
    (group,) = groups_of(b.done(b.emit("relu", relax.op.nn.relu(total))))
    n, h, w, c = image
    assert group.workload == Pool2d("avg", n, h, w, c, (h, w), (1, 1))
    assert group.anchor == "sum"
    assert "relu" in group.members


@pytest.mark.parametrize("axes", [(3,), (0, 2), None])
def test_other_sums_are_left_to_tvm(axes):
    b = Builder(2, 3, 4, 5)
    groups = groups_of(b.done(b.emit("sum", relax.op.sum(b.input, axis=axes))))
    assert not any(group.anchor == "sum" for group in groups)


def test_a_matrix_product_folds_its_batch_and_its_operands():
    b = Builder(2, 16, 8)
    y = b.emit("add", relax.op.add(b.dense("matmul", b.input, 8), b.input))
    (group,) = groups_of(b.done(b.emit("add_1", relax.op.add(y, b.const(8)))))
    assert group.workload == Matmul(32, 8, 8)
    assert [operand.shape for operand in group.epilogue.operands] == [(32, 8), (8,)]


def test_an_operand_that_does_not_fold_stays_outside():
    b = Builder(2, 16, 8)
    mask = b.const(16, 1)
    (product, rest) = groups_of(b.done(b.emit("add", relax.op.add(
        b.dense("matmul", b.input, 8), mask))))  # fmt: skip
    assert product.members == {"matmul"}
    assert isinstance(rest.workload, Elementwise)


def test_padding_with_the_zero_point_is_part_of_the_convolution():
    x = relax.Var("x", relax.TensorType((1, 8, 8, 4), "uint8"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            padded = builder.emit(relax.op.nn.pad(x, [0, 0, 1, 1, 1, 1, 0, 0], "constant", 7.0))
            weight = relax.const(np.ones((8, 3, 3, 4), "int8"))
            out = builder.emit_output(
                relax.op.nn.conv2d(
                    padded, weight, data_layout="NHWC", kernel_layout="OHWI", out_dtype="int32"
                )
            )
        builder.emit_func_output(out)
    (group,) = groups_of(builder.get())
    assert group.data == ("x",)
    assert (group.workload.padding, group.workload.pad_code) == ((1, 1, 1, 1), 7)
    assert (group.epilogue.accumulator, group.epilogue.dtype) == ("int32", "int32")


def test_weights_that_are_arguments_make_the_same_workload():
    module = residual_network()
    inputs = input_for(module)
    simulation = simulate(quantized(module, machine(), inputs).graph)
    names = frozenset(simulation.weights.values())
    workloads = [g.workload for g in groups_of(simulation.module, names)]
    expected = [g.workload for g in groups_of(module)]
    loops = Conv2d | Matmul
    assert [w for w in workloads if isinstance(w, loops)] == [
        w for w in expected if isinstance(w, loops)
    ]


def test_fake_quantize_is_part_of_the_kernel_that_it_follows():
    module = residual_network()
    simulation = simulate(quantized(module, machine(), input_for(module)).graph)
    groups = groups_of(simulation.module, simulation.weights.values())
    first = next(g for g in groups if g.anchor == "conv2d")
    fake = ["divide", "round", "add", "minimum", "maximum", "subtract", "multiply"]
    assert steps(first) == ["add", "relu", *fake]
    assert [operand.shape for operand in first.epilogue.operands] == [(8,), (), (), (), ()]


MODULES = {
    "float residual": (residual_network, lambda model: model.graph.module),
    "float attention": (attention, lambda model: model.graph.module),
    "qdq residual": (residual_network, insert_qdq),
    "integer residual": (residual_network, lambda model: integerize(insert_qdq(model))),
    "integer attention": (attention, lambda model: integerize(insert_qdq(model))),
}


@pytest.mark.parametrize("name", MODULES)
def test_the_expression_of_every_group_means_what_its_operations_mean(name):
    make, realize = MODULES[name]
    inputs = input_for(make())
    module = realize(quantized(make(), machine(), inputs))
    values = all_values(module, inputs)
    groups = groups_of(module)
    assert groups
    for group in groups:
        actual = evaluated(group, values)
        expected = values[group.output]
        if expected.dtype == np.uint8:
            # x * (1 / s) and x / s differ within float rounding of a tie: by one code at most.
            assert np.abs(actual.astype(int) - expected.reshape(actual.shape)).max() <= 1
        else:
            assert np.allclose(actual, expected.reshape(actual.shape), rtol=1e-5, atol=1e-5)


def evaluated(group, values):
    """The output of ``group`` by its epilogue, from the values that the module computes."""

    def value(source):
        return values[source] if isinstance(source, str) else source

    if isinstance(group.workload, Elementwise):
        accumulator = value(group.data[0])
    elif isinstance(group.workload, Pool2d) and group.workload.kind == "avg":
        dtype = np.int32 if group.epilogue.accumulator == "int32" else np.float32
        work = group.workload
        image = value(group.data[0]).reshape(work.n, work.h, work.w, work.c)
        accumulator = image.sum(axis=(1, 2), dtype=dtype)
    else:
        accumulator = values[group.anchor]
    operands = [
        value(source).reshape(operand.shape)
        for source, operand in zip(group.operands, group.epilogue.operands, strict=True)
    ]
    return group.epilogue.evaluate(accumulator.reshape(group.shape), operands)


def test_products_of_activations_are_batched():
    (scores,) = [g for g in groups_of(attention()) if g.anchor == "scores"]
    assert scores.workload == BatchMatmul(1, 16, 16, 8)


def test_codes_that_are_broadcast_are_read_in_their_own_shape():
    rows = relax.Var("x", relax.TensorType((1, 6, 8), "float32"))
    mask = relax.Var("mask", relax.TensorType((1, 6, 1), "uint8"))
    builder = relax.BlockBuilder()
    with builder.function("main", [rows, mask]):
        with builder.dataflow():
            numbers = (relax.const(np.float32(0.5)), relax.const(np.uint8(0)))
            factor = builder.emit(relax.op.dequantize(mask, *numbers, -1, "float32"))
            gamma, beta = (relax.const(np.full(8, v, np.float32)) for v in (1, 0))
            normal = builder.emit(relax.op.nn.layer_norm(rows, gamma, beta, axes=[-1]))
            result = builder.emit_output(relax.op.multiply(normal, factor))
        builder.emit_func_output(result)
    (group,) = groups_of(builder.get())
    assert (group.shape, group.operands) == ((6, 8), ("mask",))
    assert [operand.shape for operand in group.epilogue.operands] == [(6, 1)]
