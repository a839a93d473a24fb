"""A resized axis reads what TVM's kernel reads."""

import numpy as np
import pytest
from tvm import relax

from hago.dataflow import read_dataflow
from hago.errors import ModelError
from hago.hardware.host import host_spec
from hago.lower.callable import compile_callable
from hago.realize import interpret
from hago.resample import taps
from tests.graphs import Builder

MODES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


def resized(size, **options):
    b = Builder(1, 5, 7, 3)
    call = relax.op.image.resize2d(b.input, size, layout="NHWC", **options)
    return b.done(b.emit("resized", call))


def both(module):
    x = {"x": np.random.default_rng(0).normal(size=(1, 5, 7, 3)).astype("float32")}
    (meaning,) = interpret(module, x)
    (kernel,) = compile_callable(module, host_spec())(x).values()
    return meaning, kernel


@pytest.mark.parametrize("size", [(10, 14), (3, 4), (9, 5)])
@pytest.mark.parametrize("mode", MODES)
def test_linear_interpolation_is_tvms(mode, size):
    meaning, kernel = both(resized(size, method="linear", coordinate_transformation_mode=mode))
    # TVM finds positions in float32: its shares of a pixel are off by some 2^-23 * 14.
    np.testing.assert_allclose(meaning, kernel, atol=2e-5)


@pytest.mark.parametrize("rounding", ["", "floor", "ceil"])
@pytest.mark.parametrize("mode", MODES)
def test_the_nearest_pixel_is_tvms(mode, rounding):
    options = {"coordinate_transformation_mode": mode, "rounding_method": rounding}
    meaning, kernel = both(resized((10, 14), method="nearest_neighbor", **options))
    np.testing.assert_array_equal(meaning, kernel)


def test_cubic_interpolation_is_refused_by_name():
    node = read_dataflow(resized((10, 14), method="cubic")).nodes[0]
    with pytest.raises(ModelError, match="resize2d by cubic"):
        taps(node.call, 5, 10)
