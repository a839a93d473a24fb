"""A maximum of bfloat16 elements is written as bfloat16."""

import numpy as np
from tvm import relax

from hago.hardware.host import host_spec
from hago.lower.callable import compile_callable
from hago.realize import interpret
from tests.graphs import Builder, input_for


def test_a_pool_between_bfloat16_tensors_gives_the_references_elements():
    b = Builder(1, 8, 8, 16)
    narrow = b.emit("narrow", relax.op.astype(b.input, "bfloat16"))
    pool = relax.op.nn.max_pool2d(narrow, (3, 3), strides=(2, 2), padding=(1, 1), layout="NHWC")
    module = b.done(b.emit("wide", relax.op.astype(b.emit("pool", pool), "float32")))
    inputs = input_for(module)
    (expected,) = interpret(module, inputs)
    (actual,) = compile_callable(module, host_spec())(inputs).values()
    np.testing.assert_array_equal(actual, expected)
