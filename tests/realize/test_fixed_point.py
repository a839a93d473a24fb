"""Fixed-point requantization at the ends of its ranges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import relax

from hago.hardware.load import load_spec
from hago.realize import interpret, realize
from hago.realize.fixed_point import rescale
from tests.graphs import LAYOUT, Builder, all_values, input_for, quantized

ARM = load_spec("arm-dotprod")


def rescaled(total, ratio):
    """What :func:`rescale` computes of int64 ``total``."""
    builder = relax.BlockBuilder()
    param = relax.Var("x", relax.TensorType(total.shape, "int64"))
    with builder.function("main", [param]):
        with builder.dataflow():
            result = builder.emit_output(rescale(builder, param, np.asarray(ratio)))
        builder.emit_func_output(result)
    return interpret(builder.get(), {"x": total})[0]


@given(st.integers(-(2**31), 2**31 - 1), st.floats(2.0**-60, 2.0**20))
def test_a_product_is_rounded_or_saturates(total, ratio):
    actual = int(rescaled(np.array([total]), ratio)[0])
    exact = total * ratio
    if abs(exact) < 2**30:
        # The multiplier is off by 2^-31 of itself, and two roundings of half a unit follow.
        assert abs(actual - exact) <= 1 + abs(exact) * 2.0**-30
    else:
        # SQSHL saturates before the multiplier of 2^-1 and more: far outside of 8 bits.
        assert abs(actual) >= 2**30 - 1
        assert (actual > 0) == (exact > 0)


@pytest.mark.parametrize("total", [-(2**31), -1, 0, 1, 2**31 - 1])
@pytest.mark.parametrize("ratio", [2.0**-70, 2.0**-200, 1e-38])
def test_nothing_is_left_of_a_vanishing_product(total, ratio):
    assert rescaled(np.array([total]), ratio)[0] == 0


@pytest.mark.parametrize("size", [1e-6, 1e-12, 1e-20, 1e-30])
def test_a_channel_with_next_to_no_weights_is_its_bias(size):
    """Pruned channels: in units of such an accumulator a bias has more bits than an integer."""
    b = Builder(1, 4, 4, 4)
    weight = b.random.normal(size=(3, 1, 1, 4)).astype("float32")
    weight[1] *= np.float32(size)
    pruned = relax.op.nn.conv2d(b.input, relax.const(weight), **LAYOUT)
    bias = relax.const(np.array([0.5, -1.5, 1.0], np.float32))
    hidden = b.emit("add", relax.op.add(b.emit("conv2d", pruned), bias))
    module = b.done(b.conv("conv2d_1", hidden, 2, kernel=1))
    inputs = input_for(module)
    model = quantized(module, ARM, inputs)
    quant = next(q for edge, q in model.quants.items() if str(edge) == "add -> conv2d_1[0]")
    values = all_values(realize(model), inputs).values()
    (codes,) = (v for v in values if v.dtype == np.int8 and v.shape == (1, 4, 4, 3))
    expected = quant.encode(np.array([-1.5], np.float32)).astype(int)
    assert np.abs(codes[..., 1].astype(int) - expected).max() <= 1
