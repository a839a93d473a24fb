"""Passes that put constants, paddings and reorderings into weights and windows."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from hago.prepare.absorb_flatten import absorb_flatten
from hago.prepare.conv1d_to_conv2d import conv1d_to_conv2d
from hago.prepare.fold_padding import fold_padding
from hago.prepare.fold_scales import fold_scales
from hago.prepare.pool_to_mean import pool_to_mean
from hago.prepare.unfold_transposed_conv import unfold_transposed_conv
from tests.onnx_models import assert_close, normal, operators, run
from tests.relax_modules import assert_becomes, assert_same_meaning, assert_stays, const, module

op = relax.op
NHWC = {"data_layout": "NHWC", "kernel_layout": "OHWI"}
IMAGE, WEIGHT = (1, 5, 6, 3), normal(4, 3, 3, 3)
SCALE, BIAS, MORE = normal(4, seed=1), normal(4, seed=2), normal(4, seed=3)
BY_OUTPUT = SCALE.reshape(4, 1, 1, 1)


def conv(x: relax.Expr, weight: np.ndarray = WEIGHT, **attributes: object) -> relax.Expr:
    return op.nn.conv2d(x, const(weight), padding=1, **NHWC, **attributes)


FOLDED = {
    "a scale": (
        lambda emit, x: op.multiply(conv(x), const(SCALE)),
        lambda emit, x: conv(x, WEIGHT * BY_OUTPUT),
    ),
    "a scale behind a bias": (
        lambda emit, x: op.multiply(op.add(conv(x), const(BIAS)), const(SCALE)),
        lambda emit, x: op.add(conv(x, WEIGHT * BY_OUTPUT), const(BIAS * SCALE)),
    ),
    "a batch norm behind a bias": (
        lambda emit, x: op.add(
            op.multiply(op.add(conv(x), const(BIAS)), const(SCALE)), const(MORE)
        ),
        lambda emit, x: op.add(conv(x, WEIGHT * BY_OUTPUT), const(BIAS * SCALE + MORE)),
    ),
    "two scalars": (
        lambda emit, x: op.multiply(op.multiply(op.exp(x), const(2)), const(3)),
        lambda emit, x: op.multiply(op.exp(x), const(6)),
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_constants_go_into_the_convolution(name: str) -> None:
    before, expected = (module(body, IMAGE) for body in FOLDED[name])
    assert_becomes(fold_scales, before, expected)
    assert_same_meaning(fold_scales, before, terms=27)


def test_a_scale_goes_into_a_matmul() -> None:
    weight = normal(3, 4)
    before = module(lambda emit, x: op.multiply(op.matmul(x, const(weight)), const(SCALE)), (2, 3))
    expected = module(lambda emit, x: op.matmul(x, const(weight * SCALE)), (2, 3))
    assert_becomes(fold_scales, before, expected)


def test_a_scalar_goes_into_the_weight_through_movements() -> None:
    weight = normal(8, 8)

    def body(emit, x, scale=1.0, factor=None):
        heads = op.reshape(op.matmul(x, const(weight * np.float32(scale))), (1, 6, 2, 4))
        moved = op.permute_dims(heads, [0, 2, 1, 3])
        return moved if factor is None else op.multiply(moved, const(factor))

    before = module(lambda emit, x: body(emit, x, factor=0.5), (1, 6, 8))
    expected = module(lambda emit, x: body(emit, x, scale=0.5), (1, 6, 8))
    assert_becomes(fold_scales, before, expected)


def test_a_scale_of_codes_goes_into_their_quantization_scale() -> None:
    codes, zero = const(normal(3, 4) * 50, "int8"), np.zeros(4, np.int8)

    def before(emit, x):
        weight = op.dequantize(codes, const(0.5), const(0, "int8"))
        return op.multiply(op.matmul(x, weight), const(np.abs(SCALE)))

    def expected(emit, x):
        scale = const(np.float32(0.5) * np.abs(SCALE))
        return op.matmul(x, op.dequantize(codes, scale, const(zero, "int8"), axis=1))

    assert_becomes(fold_scales, module(before, (2, 3)), module(expected, (2, 3)))


def test_scalars_of_two_activations_move_behind_their_product() -> None:
    def before(emit, x, y):
        left = op.multiply(op.exp(x), const(0.5))
        right = op.permute_dims(op.multiply(op.exp(y), const(0.25)), [1, 0])
        return op.matmul(left, right)

    def expected(emit, x, y):
        product = op.matmul(op.exp(x), op.permute_dims(op.exp(y), [1, 0]))
        return op.multiply(product, const(0.125))

    shapes = (2, 3), (4, 3)
    assert_becomes(fold_scales, module(before, *shapes), module(expected, *shapes))


def used_twice(emit, x):
    y = emit(conv(x))
    return op.add(op.multiply(y, const(SCALE)), y)


STAYS = {
    "a result that something else reads": used_twice,
    "a scale for each position": lambda emit, x: op.multiply(conv(x), const(normal(5, 6, 1))),
    "a scale that broadcasts the result": lambda emit, x: op.multiply(
        op.mean(conv(x), [1, 2], keepdims=True), const(normal(5, 6, 1))
    ),
    "a negative scale of codes": lambda emit, x: op.multiply(
        op.matmul(x, op.dequantize(const(np.ones((3, 4)), "int8"), const(1), const(0, "int8"))),
        const(-2),
    ),
}


@pytest.mark.parametrize("name", STAYS)
def test_a_scale_that_no_weight_can_take_stays(name: str) -> None:
    assert_stays(fold_scales, module(STAYS[name], IMAGE))


PAD = [0, 0, 1, 2, 3, 0, 0, 0]  # one row before and two after, three columns before


def test_zero_padding_goes_into_the_convolution() -> None:
    before = module(lambda emit, x: conv(op.nn.pad(x, PAD)), IMAGE)

    def expected(emit, x):
        return op.nn.conv2d(x, const(WEIGHT), padding=[2, 4, 3, 1], **NHWC)

    assert_becomes(fold_padding, before, module(expected, IMAGE))
    assert_same_meaning(fold_padding, before, terms=27)


def test_zero_padding_goes_into_an_average_that_counts_it() -> None:
    before = module(
        lambda emit, x: op.nn.avg_pool2d(op.nn.pad(x, PAD), [2, 2], layout="NHWC"), IMAGE
    )

    def expected(emit, x):
        padding = [1, 3, 2, 0]
        return op.nn.avg_pool2d(x, [2, 2], (1, 1), padding, (1, 1), False, True, "NHWC")

    assert_becomes(fold_padding, before, module(expected, IMAGE))
    assert_same_meaning(fold_padding, before, terms=4)


KEPT_PADS = {
    "a maximum pool": lambda emit, x: op.nn.max_pool2d(op.nn.pad(x, PAD), [2, 2], layout="NHWC"),
    "another value": lambda emit, x: conv(op.nn.pad(x, PAD, "constant", 1.0)),
    "a reflection": lambda emit, x: conv(op.nn.pad(x, PAD, "reflect")),
    "padded channels": lambda emit, x: conv(
        op.nn.pad(op.strided_slice(x, [3], [0], [2]), [0, 0, 0, 0, 0, 0, 0, 1])
    ),
    "an average that does not count its own": lambda emit, x: op.nn.avg_pool2d(
        op.nn.pad(x, PAD), [2, 2], padding=1, layout="NHWC"
    ),
}


@pytest.mark.parametrize("name", KEPT_PADS)
def test_padding_that_means_something_else_stays(name: str) -> None:
    assert_stays(fold_padding, module(KEPT_PADS[name], IMAGE))


GLOBAL = {
    "adaptive": lambda emit, x: op.nn.adaptive_avg_pool2d(x, [1, 1], "NHWC"),
    "a window of everything": lambda emit, x: op.nn.avg_pool2d(x, [5, 6], layout="NHWC"),
}


@pytest.mark.parametrize("name", GLOBAL)
def test_a_pool_over_everything_is_a_mean(name: str) -> None:
    expected = module(lambda emit, x: op.mean(x, [1, 2], keepdims=True), IMAGE)
    assert_becomes(pool_to_mean, module(GLOBAL[name], IMAGE), expected)


def test_a_pool_over_less_stays() -> None:
    assert_stays(
        pool_to_mean, module(lambda emit, x: op.nn.avg_pool2d(x, [5, 5], layout="NHWC"), IMAGE)
    )


ONE_DIMENSIONAL = {
    "nn.conv2d": lambda emit, x: op.nn.conv1d(
        x, const(normal(4, 3, 3)), strides=2, padding=[1, 2], dilation=2
    ),
    "nn.max_pool2d": lambda emit, x: op.nn.max_pool1d(x, 3, 2, [1, 0]),
    "nn.avg_pool2d": lambda emit, x: op.nn.avg_pool1d(x, 3, 2, [1, 0]),
}


@pytest.mark.parametrize("name", ONE_DIMENSIONAL)
def test_a_window_of_one_axis_becomes_one_of_two(name: str) -> None:
    before = module(ONE_DIMENSIONAL[name], (1, 3, 9))
    assert operators(conv1d_to_conv2d(before)) == ["reshape", name, "reshape"]
    assert_same_meaning(conv1d_to_conv2d, before, terms=9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_codes_of_weights_stay_codes_behind_a_conv1d(axis: int) -> None:
    codes = np.arange(-18, 18, dtype=np.int8).reshape(4, 3, 3)
    scale, zero = const(np.arange(1, codes.shape[axis] + 1)), np.zeros(codes.shape[axis], np.int8)

    def before(emit, x):
        weight = op.dequantize(relax.const(codes), scale, relax.const(zero), axis=axis)
        return op.nn.conv1d(x, emit(weight), padding=[1, 1])

    given = module(before, (1, 3, 9))
    assert operators(conv1d_to_conv2d(given)) == ["reshape", "dequantize", "nn.conv2d", "reshape"]
    assert_same_meaning(conv1d_to_conv2d, given, terms=9)


# kernel, strides, padding (begins, ends), output padding, groups
TRANSPOSED = [
    ((2, 2), (2, 2), (0, 0, 0, 0), (0, 0), 1),
    ((3, 3), (2, 2), (1, 1, 1, 1), (1, 1), 1),
    ((4, 3), (2, 1), (1, 1, 1, 1), (0, 0), 2),
    ((3, 3), (1, 1), (0, 1, 1, 0), (0, 0), 1),
    ((2, 2), (3, 3), (0, 0, 0, 0), (1, 0), 1),
    ((5, 4), (3, 2), (2, 0, 0, 3), (2, 1), 4),
]


@pytest.mark.parametrize("dilation", [(1, 1), (2, 3)])
@pytest.mark.parametrize(("kernel", "strides", "padding", "extra", "groups"), TRANSPOSED)
def test_a_transposed_convolution_is_a_convolution_spread_out(
    kernel: tuple[int, int],
    strides: tuple[int, int],
    padding: tuple[int, ...],
    extra: tuple[int, int],
    groups: int,
    dilation: tuple[int, int],
) -> None:
    weight, x = normal(4, 8 // groups, *kernel), normal(1, 4, 5, 6)
    attributes = {
        "strides": strides, "padding": padding, "output_padding": extra, "groups": groups,
        "dilation": dilation,
    }  # fmt: skip

    def first(emit, x):
        return op.nn.conv2d_transpose(x, const(weight), **attributes)

    def last(emit, x):
        layouts = {"data_layout": "NHWC", "kernel_layout": "IHWO"}
        return op.nn.conv2d_transpose(
            x, const(weight.transpose(0, 2, 3, 1)), **layouts, **attributes
        )

    unfolded = unfold_transposed_conv(module(last, (1, 5, 6, 4)))
    assert "nn.conv2d_transpose" not in operators(unfolded)
    got = run(unfolded, np.ascontiguousarray(x.transpose(0, 2, 3, 1)))[0]
    expected = run(module(first, x.shape), x)[0]
    assert_close(got.transpose(0, 3, 1, 2), expected, terms=weight[:, 0].size)


def test_a_kernel_as_large_as_its_stride_needs_a_1x1_convolution() -> None:
    weight = const(normal(4, 2, 2, 3))

    def body(emit, x):
        return op.nn.conv2d_transpose(
            x, weight, strides=2, data_layout="NHWC", kernel_layout="IHWO"
        )

    unfolded = unfold_transposed_conv(module(body, (1, 5, 6, 4)))
    assert operators(unfolded) == ["nn.conv2d", "reshape", "permute_dims", "reshape"]
    kernel = unfolded["main"].body.blocks[0].bindings[0].value.args[1]
    assert [int(d) for d in kernel.ty.shape] == [12, 1, 1, 4]


def flattened(x: relax.Expr) -> relax.Expr:
    return op.reshape(op.permute_dims(x, [0, 3, 1, 2]), (2, 24))


def test_a_flatten_costs_nothing_when_the_weight_is_reordered() -> None:
    before = module(lambda emit, x: op.matmul(flattened(x), const(normal(24, 5))), (2, 3, 2, 4))
    assert operators(absorb_flatten(before)) == ["reshape", "matmul"]
    assert_same_meaning(absorb_flatten, before, terms=24)


def test_a_flatten_of_codes_reorders_the_weights_codes() -> None:
    scale, zero = const(0.5), const(0, "int8")

    def before(emit, x):
        codes = op.quantize(flattened(x), scale, zero)
        weight = const(normal(24, 5) * 50, "int8")
        columns = op.dequantize(weight, const(range(1, 6)), const(np.zeros(5), "int8"), axis=1)
        return op.matmul(op.dequantize(codes, scale, zero), columns)

    source = module(before, (2, 3, 2, 4))
    assert "permute_dims" not in operators(absorb_flatten(source))
    assert_same_meaning(absorb_flatten, source, terms=24)


def test_a_flatten_for_a_weight_that_is_no_constant_stays() -> None:
    before = module(lambda emit, x, w: op.matmul(flattened(x), w), (2, 3, 2, 4), (24, 5))
    assert_stays(absorb_flatten, before)


def test_an_adaptive_pool_whose_windows_are_equal_has_a_window() -> None:
    shape = (1, 6, 4, 3)
    before = module(lambda emit, x: op.nn.adaptive_avg_pool2d(x, [3, 2], layout="NHWC"), shape)
    expected = module(
        lambda emit, x: op.nn.avg_pool2d(x, [2, 2], [2, 2], layout="NHWC"), shape
    )
    assert_becomes(pool_to_mean, before, expected)


def test_an_adaptive_pool_with_unequal_windows_stays() -> None:
    shape = (1, 7, 4, 3)
    assert_stays(
        pool_to_mean,
        module(lambda emit, x: op.nn.adaptive_avg_pool2d(x, [3, 2], layout="NHWC"), shape),
    )
