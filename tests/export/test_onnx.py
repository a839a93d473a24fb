"""What is written as ONNX computes what the module computes."""

from functools import partial

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from tvm import relax

from hago.annotate.constants import constant_edges
from hago.errors import BuildError
from hago.export.onnx import check_file, export_onnx, to_onnx
from hago.hardware.load import load_spec
from hago.realize import insert_qdq, interpret
from tests.graphs import (
    Builder,
    attention,
    diffusion_block,
    input_for,
    machine,
    quantized,
    residual_network,
)


def bent_network():
    """A parametric relu between two convolutions."""
    b = Builder(1, 8, 8, 4)
    conv = b.conv("conv2d_1", b.input, 8, padding=1)
    bent = b.emit("prelu_1", relax.op.nn.prelu(conv, b.const(8), axis=3))
    return b.done(b.conv("conv2d_2", bent, 4, 1))


def norm_of_rows(channel):
    """A group norm of three axes; ``channel`` is that of channels."""
    b = Builder(2, 4, 6)
    width, others = (2, 4, 6)[channel], [axis for axis in (1, 2) if axis != channel]
    return b.done(b.emit("norm", relax.op.nn.group_norm(
        b.input, b.const(width), b.const(width), 2, channel_axis=channel, axes=others
    )))  # fmt: skip


MODELS = {
    "residual": residual_network,
    "attention": attention,
    "bent": bent_network,
    "diffusion": diffusion_block,
}
def rms_norm():
    b = Builder(2, 4, 6)
    return b.done(b.emit("norm", relax.op.nn.rms_norm(b.input, b.const(6), [-1], 1e-3)))


def gelu_by_tanh():
    b = Builder(2, 6)
    return b.done(b.emit("gelu", relax.op.nn.gelu_tanh(b.input)))


ALONE = {
    "gelu by tanh": gelu_by_tanh,
    "channels first": partial(norm_of_rows, 1),
    "channels last": partial(norm_of_rows, 2),
    "root mean square": rms_norm,
}


def named(module):
    """``module`` with the attributes that an imported one has."""
    main = module["main"]
    count = len(main.body.body.fields) if isinstance(main.body.body, relax.Tuple) else 1
    names = [f"out{i}" for i in range(count)]
    function = main.with_attr("hago.input_names", ["image"])
    result = module.clone()
    result["main"] = function.with_attr("hago.output_names", names)
    return result


def run(model, inputs):
    return ReferenceEvaluator(model).run(None, {"image": inputs["x"]})


@pytest.mark.parametrize("name", [*MODELS, *ALONE])
def test_a_float_module_computes_the_same(name):
    module = {**MODELS, **ALONE}[name]()
    inputs = input_for(module)
    (expected,) = interpret(module, inputs)
    (actual,) = run(to_onnx(named(module)), inputs)
    # Sums of at most 512 products in another order.
    bound = 512 * np.finfo(np.float32).eps * np.abs(expected).max()
    assert np.abs(actual - expected).max() <= bound


@pytest.mark.parametrize("name", MODELS)
def test_a_qdq_module_means_the_same(name):
    module = MODELS[name]()
    inputs = input_for(module)
    model = quantized(module, machine(), inputs)
    (exact,) = interpret(module, inputs)
    (expected,) = interpret(insert_qdq(model), inputs)
    (actual,) = run(to_onnx(named(insert_qdq(model))), inputs)
    # A bias in int32 may turn a tie into the next code: less than what quantization costs.
    assert np.abs(actual - expected).max() <= 0.25 * np.abs(expected - exact).max()


def operators(model):
    return [node.op_type for node in model.graph.node]


def test_a_convolution_keeps_its_channels_last_neighbours_without_transposing_between():
    model = to_onnx(named(residual_network()))
    # One on the way in, one for the mean over the image that drops its axes.
    assert operators(model).count("Transpose") <= 2


def test_a_bias_is_part_of_its_convolution():
    b = Builder(1, 6, 6, 4)
    biased = b.emit("add", relax.op.add(b.conv("conv2d", b.input, 8), b.const(8)))
    model = to_onnx(named(b.done(biased)))
    (conv,) = (node for node in model.graph.node if node.op_type == "Conv")
    assert len(conv.input) == 3
    assert "Add" not in operators(model)


def test_a_sum_that_is_read_twice_stays_a_sum():
    b = Builder(1, 6, 6, 4)
    conv = b.conv("conv2d", b.input, 8)
    biased = b.emit("add", relax.op.add(conv, b.const(8)))
    module = b.done(b.emit("both", relax.op.add(biased, conv)))
    inputs = input_for(module)
    (expected,) = interpret(module, inputs)
    # Sums of 37 products in another order.
    bound = 37 * np.finfo(np.float32).eps * np.abs(expected).max()
    np.testing.assert_allclose(run(to_onnx(named(module)), inputs)[0], expected, atol=bound)


def test_a_quantized_bias_has_the_product_of_both_scales():
    b = Builder(1, 6, 6, 4)
    biased = b.emit("add", relax.op.add(b.conv("conv2d", b.input, 8), b.const(8)))
    module = b.done(b.conv("conv2d_1", biased, 4))
    model = to_onnx(named(insert_qdq(quantized(module, machine(), input_for(module)))))
    values = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    made = {node.output[0]: node for node in model.graph.node}
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    data, weight, bias = (values[made[place].input[1]] for place in conv.input)
    np.testing.assert_array_equal(bias, data * weight)


@pytest.mark.parametrize(("high", "stays"), [(6.0, False), (3.0, True)])
def test_a_clip_that_saturation_does_is_left_out(high, stays):
    """The range of the codes ends at 6: a clip at 6 does nothing more, a clip at 3 does."""
    b = Builder(1, 6, 6, 4)
    clipped = b.emit("clip", relax.op.clip(b.conv("conv2d", b.input, 8), 0, high))
    numbers = relax.const(np.float32(6 / 255)), relax.const(np.uint8(0)), -1
    codes = b.emit("codes", relax.op.quantize(clipped, *numbers, "uint8"))
    real = b.emit("real", relax.op.dequantize(codes, *numbers, "float32"))
    module = b.done(real)
    inputs = input_for(module)
    model = to_onnx(named(module))
    assert ("Clip" in operators(model)) == stays
    np.testing.assert_allclose(run(model, inputs)[0], interpret(module, inputs)[0], atol=1e-6)


def test_weights_keep_their_codes():
    module = residual_network()
    model = quantized(module, load_spec("x86-avx2"), input_for(module))
    constants = constant_edges(model.graph)
    exported = to_onnx(named(insert_qdq(model)))
    written = {onnx.numpy_helper.to_array(c).tobytes() for c in exported.graph.initializer}
    convolutions = [edge for edge in constants if constants[edge].ndim == 4]
    assert convolutions
    for edge in convolutions:
        codes = model.quants[edge].encode(constants[edge]).transpose(0, 3, 1, 2)
        assert codes.tobytes() in written, edge


def test_all_operators_without_a_row_are_named_at_once():
    b = Builder(1, 6, 6, 4)
    odd = b.emit("cumsum", relax.op.cumsum(b.input, axis=1))
    module = named(b.done(b.emit("sinh", relax.op.sinh(odd))))
    with pytest.raises(BuildError, match=r"cumsum.*sinh"):
        to_onnx(module)


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "model.onnx"
    export_onnx(named(attention()), path)
    onnx.checker.check_model(onnx.load(path))
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path):
    with pytest.raises(BuildError, match="cannot be written"):
        check_file(tmp_path / "nowhere" / "model.onnx")
    with pytest.raises(BuildError, match="folder"):
        check_file(tmp_path)
    assert not list(tmp_path.iterdir())
