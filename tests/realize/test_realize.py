"""realize: QDQ goes in, integers come out, and numpy says that they mean the same."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from hago.dataflow import read_dataflow
from hago.hardware.host import host_spec
from hago.lower.callable import compile_callable
from hago.realize import insert_qdq, integerize, interpret
from hago.realize.fixed_point import fixed_point_multiplier, use_fixed_point
from hago.realize.tables import tabulate
from tests.graphs import (
    Builder,
    all_values,
    attention,
    input_for,
    machine,
    quantized,
    residual_network,
)

MODELS = {"residual": residual_network, "attention": attention}


def run_by_tvm(module, inputs):
    """``module`` by TVM's own legalization of every operation."""
    executable = relax.build(relax.transform.LegalizeOps()(module), "llvm")
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](
        *(tvm.runtime.tensor(value) for value in inputs.values())
    )
    return [result.numpy()] if hasattr(result, "numpy") else [part.numpy() for part in result]


def run_by_kernels(module, inputs):
    """``module`` by the kernels for this computer."""
    (result,) = compile_callable(module, host_spec())(inputs).values()
    return result


def operations(module):
    return [node.op for node in read_dataflow(module).nodes]


def one_code(model, dst):
    """Size of one code of the tensor that ``dst`` reads."""
    return float(next(q.scale for e, q in model.quants.items() if e.dst == dst and e.arg == 0))


@pytest.mark.parametrize("name", MODELS)
def test_integers_mean_what_qdq_means(name):
    module = MODELS[name]()
    inputs = input_for(module)
    qdq = insert_qdq(quantized(module, machine(), inputs))
    real = integerize(qdq)
    (expected,), (actual,) = interpret(qdq, inputs), interpret(real, inputs)
    # Both sum the same products; float32 rounds each of at most 512 of them.
    bound = 512 * np.finfo(np.float32).eps * np.abs(expected).max()
    assert np.abs(expected - actual).max() <= bound


@pytest.mark.parametrize("name", MODELS)
def test_tvm_and_numpy_compute_the_same_integers(name):
    module = MODELS[name]()
    inputs = input_for(module)
    real = integerize(insert_qdq(quantized(module, machine(), inputs)))
    # The last product is of integers, one float multiplication follows.
    expected, actual = interpret(real, inputs)[0], run_by_tvm(real, inputs)[0]
    assert np.allclose(expected, actual, rtol=2 * np.finfo(np.float32).eps, atol=0)


@pytest.mark.parametrize("name", MODELS)
def test_every_product_is_of_integers(name):
    module = MODELS[name]()
    real = integerize(insert_qdq(quantized(module, machine(), input_for(module))))
    products = [n for n in read_dataflow(real).nodes if n.op in ("nn.conv2d", "matmul")]
    assert products
    assert {node.dtype for node in products} == {"int32"}


def test_codes_pass_through_concat_without_arithmetic():
    module = residual_network()
    real = integerize(insert_qdq(quantized(module, machine(), input_for(module))))
    concat = next(n for n in read_dataflow(real).nodes if n.op == "concat")
    assert concat.dtype == "uint8"


def test_padding_is_the_zero_point():
    module = residual_network()
    inputs = input_for(module)
    model = quantized(module, machine(), inputs)
    real = integerize(insert_qdq(model))
    pad = next(n for n in read_dataflow(real).nodes if n.op == "nn.pad")
    quants = {str(edge): quant for edge, quant in model.quants.items()}
    zero_point = int(quants["x -> conv2d[0]"].zero_point)
    assert zero_point != 0
    assert int(pad.call.attrs.pad_value) == zero_point


@pytest.mark.parametrize("name", MODELS)
def test_integerize_twice_changes_nothing(name):
    module = MODELS[name]()
    once = integerize(insert_qdq(quantized(module, machine(), input_for(module))))
    assert operations(integerize(once)) == operations(once)


def unary_between_codes():
    b = Builder(1, 6, 6, 4)
    first = b.conv("conv2d", b.input, 8)
    # Two readers: the tensor lies in memory, so each function of it is a table.
    left = b.conv("conv2d_1", b.emit("sigmoid", relax.op.sigmoid(first)), 4)
    right = b.conv("conv2d_2", first, 4)
    return b.done(left, right)


def test_a_function_between_codes_becomes_a_table_with_the_same_codes():
    module = unary_between_codes()
    inputs = input_for(module)
    real = integerize(insert_qdq(quantized(module, machine(), inputs)))
    table = tabulate(real)
    assert "take" in operations(table)
    assert "sigmoid" not in operations(table)
    for expected, actual in zip(interpret(real, inputs), interpret(table, inputs), strict=True):
        assert np.array_equal(expected, actual)


def test_fixed_point_leaves_no_float_between_integer_layers():
    spec = machine()
    fixed = replace(spec, ops=tuple(replace(r, requantize="fixed_point") for r in spec.ops))
    module = residual_network()
    inputs = input_for(module)
    model = quantized(module, fixed, inputs)
    real = use_fixed_point(tabulate(integerize(insert_qdq(model))))
    ops = operations(real)
    # One quantize at the model's input, one dequantize at its output.
    assert (ops.count("quantize"), ops.count("dequantize")) == (1, 1)


def test_fixed_point_is_one_code_from_float_requantization_in_each_layer():
    b = Builder(1, 8, 8, 4)
    biased = b.emit("add", relax.op.add(b.conv("conv2d", b.input, 8, padding=1), b.const(8)))
    hidden = b.emit("relu", relax.op.nn.relu(biased))
    module = b.done(b.conv("conv2d_1", hidden, 4))
    spec = machine()
    fixed = replace(spec, ops=tuple(replace(r, requantize="fixed_point") for r in spec.ops))
    inputs = input_for(module)
    real = integerize(insert_qdq(quantized(module, fixed, inputs)))
    codes, exact = (
        next(
            value.astype(int)
            for value in all_values(form, inputs).values()
            if value.dtype == np.uint8 and value.shape[-1] == 8
        )
        for form in (real, use_fixed_point(real))
    )
    assert np.abs(codes - exact).max() <= 1


@given(st.floats(min_value=1e-6, max_value=100.0))
def test_a_fixed_point_multiplier_has_31_bits(ratio):
    multiplier, shift = fixed_point_multiplier(np.float64(ratio))
    assert 2**30 <= multiplier < 2**31
    assert abs(float(multiplier) * 2.0 ** (-31 - int(shift)) - ratio) <= ratio * 2.0**-31


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 2), st.integers(0, 2), st.sampled_from([1, 2, 4]),
    st.integers(0, 2**16),
)  # fmt: skip
def test_any_convolution_realizes_exactly(kernel, stride, padding, groups, seed):
    b = Builder(1, 7, 6, 4, seed=seed)
    hidden = b.conv("conv2d", b.input, 8, kernel=kernel, strides=stride, padding=padding,
                    groups=groups)  # fmt: skip
    module = b.done(b.conv("conv2d_1", hidden, 4, kernel=1))
    inputs = input_for(module, seed)
    model = quantized(module, machine(), inputs)
    qdq = insert_qdq(model)
    expected, actual = interpret(qdq, inputs)[0], interpret(integerize(qdq), inputs)[0]
    # One code of the hidden tensor may differ at a tie: at most its step times the weights.
    step = one_code(model, "conv2d_1") * 2.0 * np.sqrt(8) * 4
    assert np.abs(expected - actual).max() <= step
    close = np.isclose(expected, actual, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert close.mean() > 0.99


@pytest.mark.parametrize("axes", [[-1], [1, 2], [0], [2, 3], None])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("zero_point", [0, 37])
def test_sums_of_codes_are_integers_over_any_axes(axes, keepdims, zero_point):
    builder = Builder(2, 4, 6, 5)
    scale, zero = relax.const(np.float32(0.1)), relax.const(np.uint8(zero_point), "uint8")
    codes = builder.emit("codes", relax.op.quantize(builder.input, scale, zero, out_dtype="uint8"))
    real = builder.emit("real", relax.op.dequantize(codes, scale, zero, out_dtype="float32"))
    qdq = builder.done(builder.emit("total", relax.op.sum(real, axis=axes, keepdims=keepdims)))
    realized, inputs = integerize(qdq), input_for(qdq)
    (total,) = (node for node in read_dataflow(realized).nodes if node.op == "sum")
    assert total.dtype == "int32"
    (expected,), (actual,) = interpret(qdq, inputs), interpret(realized, inputs)
    count = 240 // expected.size
    # count additions of floats, or a zero point that is taken off behind the scale: each rounds
    # by eps of the largest sum of codes.
    bound = count * np.finfo(np.float32).eps * (count * 255 * 0.1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)
    np.testing.assert_allclose(run_by_kernels(realized, inputs), actual, rtol=0, atol=bound)
