"""Every operator of the differentiable engine computes what numpy's meaning of it says."""

import numpy as np
import pytest
from tvm import relax

from hago.dataflow import read_dataflow
from hago.gradient import read_program, run_steps
from hago.gradient.operators import OPERATORS
from hago.realize.interpret import interpret
from hago.realize.meanings import MEANINGS
from tests.graphs import LAYOUT, input_for
from tests.relax_modules import const, module

torch = pytest.importorskip("torch")

ONLY_INTEGER = {"right_shift", "left_shift"}
RANDOM = np.random.default_rng(5)


def weight(*shape):
    return const(RANDOM.normal(size=shape))


def conv(*shape, **attrs):
    return lambda emit, x: relax.op.nn.conv2d(x, weight(*shape), **LAYOUT, **attrs)


def one(op, *args, **attrs):
    return lambda emit, x: op(x, *args, **attrs)


def pool(op, **attrs):
    return one(op, layout="NHWC", **attrs)


def of_magnitude(op):
    return lambda emit, x: op(emit(relax.op.abs(x)))


def chosen_by(op):
    return lambda emit, x: relax.op.where(emit(op(x, const(0.0))), x, const(2.0))


IMAGE, ROWS = (1, 9, 8, 4), (3, 5, 6)
POSITIVE = (2, 7)
NN = relax.op.nn
CASES = {
    "nn.conv2d": [
        (IMAGE, conv(6, 3, 3, 4, padding=1)),
        (IMAGE, conv(6, 3, 2, 4, padding=(0, 1, 2, 1), strides=(2, 1))),
        (IMAGE, conv(4, 3, 3, 1, groups=4, dilation=(2, 1))),
        (IMAGE, conv(6, 1, 1, 2, groups=2)),
    ],
    "nn.max_pool2d": [
        (IMAGE, pool(NN.max_pool2d, pool_size=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1))),
        (IMAGE, pool(NN.max_pool2d, pool_size=(2, 2), strides=(2, 2), ceil_mode=True)),
    ],
    "nn.avg_pool2d": [
        (IMAGE, pool(NN.avg_pool2d, pool_size=(3, 3), strides=(2, 2), padding=(1, 1, 1, 1))),
        (IMAGE, pool(NN.avg_pool2d, pool_size=(3, 2), padding=(1, 0, 1, 1),
                     count_include_pad=True)),
    ],
    "quantize": [
        (ROWS, one(relax.op.quantize, const(0.1), const(7, "uint8"), out_dtype="uint8")),
        (ROWS, one(relax.op.quantize, weight(5), const([0] * 5, "int8"), axis=1)),
    ],
    "dequantize": [
        (ROWS, lambda emit, x: relax.op.dequantize(
            emit(relax.op.quantize(x, const(0.02), const(100, "uint8"), out_dtype="uint8")),
            const(0.02), const(100, "uint8"))),
    ],
    "matmul": [(ROWS, one(relax.op.matmul, weight(6, 4)))],
    "nn.softmax": [(ROWS, one(NN.softmax, axis=1))],
    "nn.rms_norm": [(ROWS, one(NN.rms_norm, weight(6), axes=[-1], epsilon=1e-3))],
    "nn.layer_norm": [(ROWS, one(NN.layer_norm, weight(6), weight(6), axes=[-1], epsilon=1e-3))],
    "nn.pad": [
        (ROWS, one(NN.pad, [0, 0, 1, 2, 0, 1], "constant", 3.0)),
        (ROWS, one(NN.pad, [0, 0, 1, 2, 3, 1], "reflect")),
        (ROWS, one(NN.pad, [1, 0, 0, 0, 3, 1], "replicate")),
    ],
    "image.resize2d": [
        (IMAGE, one(relax.op.image.resize2d, (18, 12), layout="NHWC", method="nearest_neighbor",
                    coordinate_transformation_mode=mode, rounding_method=rounding))
        for mode, rounding in (("asymmetric", "floor"), ("half_pixel", "round"),
                               ("align_corners", "ceil"))
    ],
    "strided_slice": [
        (ROWS, one(relax.op.strided_slice, axes=[1, 2], begin=[1, -4], end=[5, 100],
                   strides=[2, 1])),
        (ROWS, one(relax.op.strided_slice, axes=[1], begin=[4], end=[-6], strides=[-2])),
    ],
    "split": [
        (ROWS, lambda emit, x: emit(relax.op.split(x, 3, axis=2))[1]),
        (ROWS, lambda emit, x: emit(relax.op.split(x, [1, 4], axis=1))[2]),
    ],
    "take": [
        (ROWS, one(relax.op.take, const([[2, 0], [1, 1]], "int64"), axis=1)),
        (ROWS, one(relax.op.take, const([1, 2], "int32"), axis=-1)),
    ],
    **{name: [(ROWS, one(op, axis=[0, 2])), (ROWS, one(op, axis=[1], keepdims=True)),
              (ROWS, one(op))]
       for name, op in (("sum", relax.op.sum), ("mean", relax.op.mean), ("max", relax.op.max),
                        ("min", relax.op.min), ("variance", relax.op.variance))},
    "nn.group_norm": [
        (IMAGE, one(NN.group_norm, weight(4), weight(4), 2, channel_axis=3, axes=[1, 2])),
        (IMAGE, one(NN.group_norm, weight(9), weight(9), 3, channel_axis=1, axes=[2, 3])),
    ],
    "nn.instance_norm": [
        (IMAGE, one(NN.instance_norm, weight(4), weight(4), channel_axis=3, axes=[1, 2])),
    ],
    "tile": [(ROWS, one(relax.op.tile, (2, 1, 3)))],
    **{name: [(ROWS, one(getattr(relax.op, name), weight(5, 1)))]
       for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum",
                    "floor_divide")},
    "power": [(ROWS, lambda emit, x: relax.op.power(emit(relax.op.abs(x)), const(1.5)))],
    "clip": [(ROWS, one(relax.op.clip, -0.5, 0.75))],
    "nn.leakyrelu": [(ROWS, one(NN.leakyrelu, 0.2))],
    "nn.prelu": [(ROWS, lambda emit, x: NN.prelu(x, weight(6), axis=-1)),
                 (ROWS, lambda emit, x: NN.prelu(x, weight(5), axis=1))],
    **{f"nn.{name}": [(ROWS, one(getattr(NN, name)))]
       for name in ("relu", "gelu", "gelu_tanh", "silu")},
    **{name: [(ROWS, one(getattr(relax.op, name)))]
       for name in ("sigmoid", "tanh", "erf", "exp", "round", "floor", "abs", "negative",
                    "square", "sign", "sin", "cos")},
    **{name: [(POSITIVE, of_magnitude(getattr(relax.op, name)))]
       for name in ("log", "sqrt", "rsqrt")},
    **{name: [(ROWS, chosen_by(getattr(relax.op, name)))]
       for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")},
    "where": [(ROWS, lambda emit, x: relax.op.where(
        emit(relax.op.less(x, weight(5, 6))), x, weight(6)))],
    "astype": [
        (ROWS, lambda emit, x: relax.op.astype(emit(relax.op.astype(x, "bfloat16")), "float32")),
    ],
    "reshape": [(ROWS, one(relax.op.reshape, (5, 18)))],
    "permute_dims": [(ROWS, one(relax.op.permute_dims, (2, 0, 1))),
                     (ROWS, one(relax.op.permute_dims))],
    "expand_dims": [(ROWS, one(relax.op.expand_dims, axis=[0, 2]))],
    "squeeze": [((1, 4, 1), one(relax.op.squeeze))],
    "flatten": [(ROWS, one(relax.op.flatten))],
    "broadcast_to": [((1, 4, 1), one(relax.op.broadcast_to, (3, 4, 2)))],
    "concat": [(ROWS, lambda emit, x: relax.op.concat([x, weight(3, 1, 6), x], axis=1))],
}  # fmt: skip
NUMBERED = [(name, *case) for name, cases in CASES.items() for case in cases]


def test_every_meaning_has_an_operator_and_every_operator_a_case():
    assert set(OPERATORS) >= set(MEANINGS) - ONLY_INTEGER
    assert set(CASES) == set(OPERATORS)


@pytest.mark.parametrize(("name", "shape", "body"), NUMBERED, ids=[c[0] for c in NUMBERED])
def test_an_operator_computes_what_numpy_says(name, shape, body):
    source = module(body, shape)
    assert name in {node.op for node in read_dataflow(source).nodes}
    data = {"x0": input_for(source)["x"]}
    program = read_program(source)
    found = run_steps(program.steps.values(), {"x0": torch.from_numpy(data["x0"])}, {})
    actual, (expected,) = found[program.outputs[0]].numpy(), interpret(source, data)
    # float32 sums of at most 36 products in another order: a relative error of 36 roundings.
    np.testing.assert_allclose(actual, expected, rtol=36 * 2**-24, atol=36 * 2**-22)
