"""Models that came quantized: codes of any sign and zero point become integer products."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import ir, relax

from hago.dataflow import read_dataflow
from hago.realize import integerize, interpret
from hago.realize.lift import lift_codes
from hago.realize.signs import Signs, match_signs
from hago.realize.weights import recode_weights, signed_codes
from tests.relax_modules import Body, assert_becomes

RANDOM = np.random.default_rng(0)
X86 = Signs("uint8", "int8")
NHWC = {"data_layout": "NHWC", "kernel_layout": "OHWI"}
op = relax.op


def codes(*shape: int, dtype: str) -> np.ndarray:
    bounds = np.iinfo(dtype)
    return RANDOM.integers(bounds.min, bounds.max, shape, endpoint=True).astype(dtype)


def module(body: Body, *params: tuple[tuple[int, ...], str]) -> ir.IRModule:
    """``main`` over parameters of these shapes and dtypes."""
    types = [relax.TensorType(shape, dtype) for shape, dtype in params]
    variables = [relax.Var(f"x{i}", ty) for i, ty in enumerate(types)]
    builder = relax.BlockBuilder()
    with builder.function("main", variables):
        with builder.dataflow():
            result = builder.emit_output(body(builder.emit, *variables))
        builder.emit_func_output(result)
    return builder.get()


def real(value: relax.Expr, scale: object, zero: object, axis: int = -1) -> relax.Expr:
    """``value`` dequantized with constant numbers, the zero point in its own dtype."""
    zero_point = np.asarray(zero, str(value.ty.dtype))
    scales = relax.const(np.asarray(scale, np.float32))
    return op.dequantize(value, scales, relax.const(zero_point), axis, "float32")


def operations(source: ir.IRModule) -> list[str]:
    return [node.op for node in read_dataflow(source).nodes]


def test_codes_that_move_become_numbers_where_they_are_made() -> None:
    def before(emit, x):
        pooled = emit(op.nn.max_pool2d(x, (2, 2), (2, 2), layout="NHWC"))
        flat = emit(op.reshape(pooled, (1, 12)))
        return op.nn.relu(emit(real(emit(op.concat([flat, flat], 1)), 0.5, 3)))

    def after(emit, x):
        numbers = emit(real(x, 0.5, 3))
        pooled = emit(op.nn.max_pool2d(numbers, (2, 2), (2, 2), layout="NHWC"))
        flat = emit(op.reshape(pooled, (1, 12)))
        return op.nn.relu(emit(op.concat([flat, flat], 1)))

    image = ((1, 4, 4, 3), "uint8")
    assert_becomes(lift_codes, module(before, image), module(after, image))


def test_padding_with_a_code_becomes_padding_with_its_number() -> None:
    def before(emit, x):
        return op.nn.relu(emit(real(emit(op.nn.pad(x, [0, 0, 1, 1], "constant", 7.0)), 0.5, 3)))

    def after(emit, x):
        return op.nn.relu(emit(op.nn.pad(emit(real(x, 0.5, 3)), [0, 0, 1, 1], "constant", 2.0)))

    row = ((1, 4), "uint8")
    assert_becomes(lift_codes, module(before, row), module(after, row))


def test_codes_that_are_read_with_two_meanings_are_made_once_for_each() -> None:
    def before(emit, x):
        flat = emit(op.reshape(x, (4,)))
        return op.add(emit(real(flat, 0.5, 3)), emit(real(flat, 0.25, 0)))

    def after(emit, x):
        left = emit(op.reshape(emit(real(x, 0.5, 3)), (4,)))
        return op.add(left, emit(op.reshape(emit(real(x, 0.25, 0)), (4,))))

    row = ((1, 4), "uint8")
    assert_becomes(lift_codes, module(before, row), module(after, row))


@pytest.mark.parametrize(
    ("value", "zero", "expected"),
    [
        (np.uint8([0, 128, 255]), np.uint8(128), ([-128, 0, 127], 0)),
        (np.uint8([10, 100]), np.uint8(90), ([-80, 10], 0)),
        (np.uint8([0, 255]), np.uint8(90), ([-128, 127], -38)),
        (np.int8([-128, 127]), np.int8(2), ([-128, 127], 2)),
        (np.int8([-100, 100]), np.int8(2), ([-102, 98], 0)),
    ],
)
def test_weights_are_signed_and_lose_their_zero_point_where_they_can(
    value: np.ndarray, zero: np.ndarray, expected: tuple[list[int], int]
) -> None:
    signed, shift = signed_codes(value, np.asarray(zero), -1)
    assert (signed.dtype, signed.tolist(), int(shift)) == (np.int8, *expected)


def test_a_signed_activation_is_quantized_unsigned_for_a_machine_that_wants_it() -> None:
    weight = codes(4, 2, dtype="int8")

    def before(emit, x):
        q = emit(op.quantize(x, relax.const(0.5), relax.const(np.int8(-3)), -1, "int8"))
        return op.matmul(emit(real(q, 0.5, -3)), emit(real(relax.const(weight), 0.1, 0)))

    def after(emit, x):
        w = emit(real(relax.const(weight), 0.1, 0))
        q = emit(op.quantize(x, relax.const(0.5), relax.const(np.uint8(125)), -1, "uint8"))
        return op.matmul(emit(real(q, 0.5, 125)), w)

    row = ((1, 4), "float32")
    changed = match_signs(module(before, row), X86)
    expected = module(after, row)
    inputs = {"x0": RANDOM.normal(size=(1, 4)).astype("float32")}
    assert sorted(operations(changed)) == sorted(operations(expected))
    assert [n.dtype for n in read_dataflow(changed).nodes if n.op == "quantize"] == ["uint8"]
    np.testing.assert_array_equal(*(interpret(m, inputs)[0] for m in (changed, expected)))


@pytest.mark.parametrize("left", ["uint8", "int8"])
@pytest.mark.parametrize("right", ["uint8", "int8"])
def test_operands_get_the_signs_of_their_sides_through_what_moves_them(
    left: str, right: str
) -> None:
    def body(emit, x, y):
        moved = emit(op.permute_dims(emit(real(y, 0.1, 5)), (1, 0)))
        return op.matmul(emit(real(x, 0.5, 3)), moved)

    source = module(body, ((2, 6), left), ((4, 6), right))
    changed = integerize(match_signs(source, X86))
    product = next(n for n in read_dataflow(changed).nodes if n.op == "matmul")
    assert [str(arg.ty.dtype) for arg in product.call.args] == ["uint8", "int8"]
    inputs = {"x0": codes(2, 6, dtype=left), "x1": codes(4, 6, dtype=right)}
    # Both are exact but for one multiplication by the scales and the sums of 6 in float32.
    exact = interpret(source, inputs)[0]
    bound = 8 * np.finfo(np.float32).eps * np.abs(exact).max()
    assert np.abs(interpret(changed, inputs)[0] - exact).max() <= bound


def convolution(emit, x, weight, scale, zero, groups=1, padding=1):
    w = emit(real(relax.const(weight), scale, zero, 0))
    return op.nn.conv2d(emit(real(x, 0.5, 3)), w, padding=padding, groups=groups, **NHWC)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("zero", [0, 77, [1, 50, 99, 127]])
@pytest.mark.parametrize("data", ["uint8", "int8"])
def test_every_convolution_of_codes_is_one_of_integers(
    groups: int, dtype: str, zero: object, data: str
) -> None:
    weight = codes(4, 3, 3, 4 // groups, dtype=dtype)
    scale = np.full(np.shape(zero), 0.01, np.float32)
    source = module(
        lambda emit, x: convolution(emit, x, weight, scale, zero, groups), ((1, 5, 6, 4), data)
    )
    changed = integerize(match_signs(recode_weights(lift_codes(source)), X86))
    products = [n for n in read_dataflow(changed).nodes if n.op == "nn.conv2d"]
    assert {n.dtype for n in products} == {"int32"}
    inputs = {"x0": codes(1, 5, 6, 4, dtype=data)}
    # 36 products of at most 255 * 255 are exact in float32; scales round both, the sum rounds 36.
    exact = interpret(source, inputs)[0]
    bound = 40 * np.finfo(np.float32).eps * np.abs(exact).max()
    assert np.abs(interpret(changed, inputs)[0] - exact).max() <= bound


@pytest.mark.parametrize("zero", [0, 77, [1, 50, 99, 127]])
def test_a_matrix_product_with_zero_points_is_one_of_integers(zero: object) -> None:
    weight = codes(9, 4, dtype="uint8")
    scale = np.full(np.shape(zero), 0.01, np.float32)

    def body(emit, x):
        return op.matmul(emit(real(x, 0.5, 3)), emit(real(relax.const(weight), scale, zero, 1)))

    source = module(body, ((2, 3, 9), "uint8"))
    changed = integerize(recode_weights(source))
    assert {n.dtype for n in read_dataflow(changed).nodes if n.op == "matmul"} == {"int32"}
    inputs = {"x0": codes(2, 3, 9, dtype="uint8")}
    exact = interpret(source, inputs)[0]
    bound = 12 * np.finfo(np.float32).eps * np.abs(exact).max()
    assert np.abs(interpret(changed, inputs)[0] - exact).max() <= bound


def test_a_sum_that_could_overflow_stays_in_float32() -> None:
    # 255 * (127 + 0) * 70000 products are above 2^31 - 1 = 2147483647.
    weight = np.full((70000, 1), 127, np.int8)

    def body(emit, x):
        return op.matmul(emit(real(x, 0.5, 0)), emit(real(relax.const(weight), 0.01, 0)))

    changed = integerize(module(body, ((1, 70000), "uint8")))
    assert {n.dtype for n in read_dataflow(changed).nodes if n.op == "matmul"} == {"float32"}
