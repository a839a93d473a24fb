"""What TVM fuses stays apart from what is ours."""

import numpy as np
import pytest
from tvm import relax

from hago.hardware.host import host_spec
from hago.lower.callable import compile_callable
from hago.lower.lower import lower
from hago.prepare import prepare
from hago.realize.interpret import interpret
from tests.graphs import Builder, input_for
from tests.onnx_models import normal
from tests.relax_modules import const, module

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


op = relax.op
TRUTHS = {
    "not": (lambda emit, a, b: op.logical_not(a), lambda a, b: ~a),
    "not, by bits": (lambda emit, a, b: op.bitwise_not(a), lambda a, b: ~a),
    "and": (lambda emit, a, b: op.logical_and(a, b), np.logical_and),
    "or": (lambda emit, a, b: op.logical_or(a, b), np.logical_or),
    "xor": (lambda emit, a, b: op.logical_xor(a, b), np.logical_xor),
    "equal": (lambda emit, a, b: op.equal(a, b), np.equal),
    "not equal": (lambda emit, a, b: op.not_equal(a, b), np.not_equal),
    "equal to a constant": (
        lambda emit, a, b: op.equal(a, const(False, "bool")), lambda a, b: ~a,
    ),
    "choice": (
        lambda emit, a, b: op.where(a, b, emit(op.logical_not(b))), lambda a, b: np.where(a, b, ~b),
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["bool", "int8", "float32"])
@pytest.mark.parametrize("width", [64, 7], ids=["vectors", "no vectors"])
@pytest.mark.parametrize("stored", [False, True], ids=["on the way", "in memory"])
@pytest.mark.parametrize("name", TRUTHS)
def test_truths_are_zeros_and_ones(name, stored, width, dtype):
    calculate, expected = TRUTHS[name]

    def body(emit, *inputs):
        truths = [emit(op.greater(x, const(0))) for x in inputs]
        if stored:
            truths = [emit(op.permute_dims(truth, [1, 0])) for truth in truths]
        result = emit(calculate(emit, *truths))
        return result if dtype == "bool" else op.astype(result, dtype)

    inputs = {f"x{seed}": normal(32, width, seed=seed) for seed in range(2)}
    run = compile_callable(prepare(module(body, *[(32, width)] * 2)), host_spec())
    (found,) = run(inputs).values()
    truths = [x.T > 0 if stored else x > 0 for x in inputs.values()]
    exact = np.ascontiguousarray(expected(*truths)).astype(dtype)
    np.testing.assert_array_equal(found.view(np.uint8), exact.view(np.uint8))  # 2 is true, too
