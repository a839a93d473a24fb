"""What TVM fuses stays apart from what is ours."""

import numpy as np
from tvm import relax

from hago.hardware.host import host_spec
from hago.lower.callable import compile_callable
from hago.lower.lower import lower
from hago.realize.interpret import interpret
from tests.graphs import Builder, input_for

_LEFT = np.iinfo(np.int64).max


def rotary_embedding():
    """Halves of heads exchanged, as a decoder turns its queries: TVM fuses slice and concat, and
    names what it fuses as the reshapes around it are named."""
    b = Builder(6, 16)
    rows = b.dense("matmul", b.emit("rows", relax.op.reshape(b.input, (1, 6, 16))), 16)
    heads = b.emit("heads", relax.op.reshape(rows, (1, 6, 2, 8)))
    first, second = (
        b.emit(name, relax.op.strided_slice(heads, [3], [begin], [end]))
        for name, begin, end in (("first", 0, 4), ("second", 4, _LEFT))
    )
    negative = b.emit("negative", relax.op.negative(second))
    turned = b.emit("concat", relax.op.concat([negative, first], axis=3))
    cosines = b.emit("cosines", relax.op.multiply(rows, b.const(6, 16)))
    sines = b.emit("sines", relax.op.multiply(turned, b.const(6, 1, 8)))
    return b.done(b.emit("add", relax.op.add(
        b.emit("as_heads", relax.op.reshape(cosines, (1, 6, 2, 8))), sines
    )))  # fmt: skip


def test_no_two_values_have_one_name():
    main = lower(rotary_embedding(), host_spec())["main"]
    names = [str(b.var.name) for block in main.body.blocks for b in block.bindings]
    assert len(set(names)) == len(names)


def test_what_tvm_fuses_is_not_mistaken_for_a_view():
    module = rotary_embedding()
    inputs = input_for(module)
    (expected,) = interpret(module, inputs)
    (actual,) = compile_callable(module, host_spec())(inputs).values()
    # Sums of 16 products in another order.
    np.testing.assert_allclose(actual, expected, atol=16 * 2**-24 * np.abs(expected).max())
