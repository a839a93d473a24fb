"""Channels last, and data movement sunk to where it costs least."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from hago.prepare.axis_groups import axis_groups
from hago.prepare.expression import op_name
from hago.prepare.remove_identities import remove_identities
from hago.prepare.sink_reshapes import sink_reshapes
from hago.prepare.to_nhwc import to_nhwc
from tests.onnx_models import normal, operators
from tests.relax_modules import assert_becomes, assert_same_meaning, assert_stays, const, module

op = relax.op
IMAGE = (1, 3, 8, 6)
WEIGHT = normal(4, 3, 3, 3)
SQUARE = normal(3, 3, 1, 1, seed=5)
NHWC = {"data_layout": "NHWC", "kernel_layout": "OHWI"}
TO_NHWC, TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def conv(x: relax.Expr, weight: np.ndarray = WEIGHT, **attributes: object) -> relax.Expr:
    return op.nn.conv2d(x, const(weight), padding=weight.shape[2] // 2, **attributes)


def conv_last(x: relax.Expr, weight: np.ndarray = WEIGHT) -> relax.Expr:
    weight_last = const(weight.transpose(TO_NHWC))
    return op.nn.conv2d(x, weight_last, padding=weight.shape[2] // 2, **NHWC)


def test_a_convolution_moves_only_the_models_input_and_output() -> None:
    before = module(lambda emit, x: op.nn.relu(conv(x)), IMAGE)
    expected = module(
        lambda emit, x: op.permute_dims(
            op.nn.relu(conv_last(op.permute_dims(x, TO_NHWC))), TO_NCHW
        ),
        IMAGE,
    )
    assert_becomes(to_nhwc, before, expected)
    assert_same_meaning(to_nhwc, before, terms=27)


def test_a_depthwise_kernel_has_one_input_channel() -> None:
    depthwise = normal(6, 1, 3, 3)
    before = module(lambda emit, x: conv(x, depthwise, groups=3), IMAGE)
    weight = to_nhwc(before)["main"].body.blocks[0].bindings[1].value.args[1]
    assert [int(d) for d in weight.ty.shape] == [6, 3, 3, 1]
    assert_same_meaning(to_nhwc, before, terms=9)


def between_convolutions(middle):
    """A body with `middle` between two convolutions, and shapes that stay rank 4."""
    return lambda emit, x: conv(middle(emit, conv(x, SQUARE)), SQUARE)


CROSSED = {
    "unary functions": lambda emit, y: op.clip(op.sigmoid(y), 0.25, 0.75),
    "scalars": lambda emit, y: op.add(op.multiply(y, const(2)), const(1)),
    "a constant for each channel": lambda emit, y: op.add(y, const(normal(1, 3, 1, 1))),
    "a constant for each position": lambda emit, y: op.add(y, const(normal(8, 6))),
    "a residual": lambda emit, y: op.add(y, op.nn.relu(y)),
    "pools": lambda emit, y: op.nn.avg_pool2d(op.nn.max_pool2d(y, [2, 2]), [3, 3], padding=1),
    "a gate over channels": lambda emit, y: op.multiply(
        y, op.sigmoid(op.mean(y, [2, 3], keepdims=True))
    ),
    "a mean over channels": lambda emit, y: op.multiply(y, op.mean(y, [1], keepdims=True)),
    "a softmax over channels": lambda emit, y: op.nn.softmax(y, axis=1),
    "a group norm": lambda emit, y: op.nn.group_norm(
        y, const(normal(3)), const(normal(3, seed=1)), 3, channel_axis=1, axes=[2, 3]
    ),
    "a resize": lambda emit, y: op.image.resize2d(y, (4, 9), method="linear"),
    "a slice": lambda emit, y: op.strided_slice(y, [2, 3], [1, 0], [7, 5]),
    "a pad": lambda emit, y: op.nn.pad(y, [0, 0, 0, 0, 1, 2, 3, 0], "constant", 1.0),
    "a channel shuffle by slices": lambda emit, y: op.concat(
        [op.strided_slice(y, [1], [1], [3]), op.strided_slice(y, [1], [0], [1])], 1
    ),
    "a choice": lambda emit, y: op.where(op.greater(y, const(0)), y, op.negative(y)),
    "codes per tensor": lambda emit, y: op.dequantize(
        op.quantize(y, const(0.5), const(0, "int8")), const(0.5), const(0, "int8")
    ),
    "codes per channel": lambda emit, y: op.dequantize(
        op.quantize(y, const([0.25, 0.5, 1.0]), const([0, 1, 2], "int8"), axis=1),
        const([0.25, 0.5, 1.0]),
        const([0, 1, 2], "int8"),
        axis=1,
    ),
}


@pytest.mark.parametrize("name", CROSSED)
def test_the_layout_crosses(name: str) -> None:
    before = module(between_convolutions(CROSSED[name]), IMAGE)
    after = operators(to_nhwc(before))
    assert after.count("permute_dims") == 2
    assert (after[0], after[-1]) == ("permute_dims", "permute_dims")
    assert_same_meaning(to_nhwc, before, terms=64)


def test_a_reduction_that_drops_the_positions_needs_no_permutation_behind_it() -> None:
    before = module(lambda emit, x: op.mean(conv(x), [2, 3]), IMAGE)
    assert operators(to_nhwc(before)) == ["permute_dims", "nn.conv2d", "mean"]
    assert_same_meaning(to_nhwc, before, terms=27 * 48)


def test_patches_become_a_sequence_without_a_permutation() -> None:
    def before(emit, x):
        return op.permute_dims(op.reshape(conv(x), (1, 4, 48)), [0, 2, 1])

    source = module(before, IMAGE)
    assert operators(to_nhwc(source)) == ["permute_dims", "nn.conv2d", "reshape"]
    assert_same_meaning(to_nhwc, source, terms=27)


def test_a_sequence_becomes_an_image_without_a_permutation() -> None:
    def before(emit, x):
        return conv(op.reshape(op.permute_dims(x, [0, 2, 1]), (1, 3, 1, 48)), SQUARE)

    source = module(before, (1, 48, 3))
    # the new unit axis lands beside the channels; moving it from there is a reshape
    found = operators(remove_identities(to_nhwc(source)))
    assert found == ["reshape", "nn.conv2d", "permute_dims"]
    assert_same_meaning(to_nhwc, source, terms=3)


def test_a_group_norm_of_rows_has_channels_last() -> None:
    def body(emit, x):
        rows = emit(op.reshape(conv(x, SQUARE), [1, 3, 48]))
        return op.nn.group_norm(rows, const(normal(3)), const(normal(3)), 3, 1, [2])

    before = module(body, IMAGE)
    norm = next(
        binding.value for binding in to_nhwc(before)["main"].body.blocks[0].bindings
        if op_name(binding.value) == "nn.group_norm"
    )  # fmt: skip
    assert (int(norm.attrs.channel_axis), [int(axis) for axis in norm.attrs.axes]) == (2, [1])
    assert_same_meaning(to_nhwc, before, terms=64)


def test_joining_channels_with_positions_needs_a_permutation() -> None:
    before = module(lambda emit, x: op.reshape(emit(conv(x)), (1, -1)), IMAGE)
    expected = ["permute_dims", "nn.conv2d", "permute_dims", "reshape"]
    assert operators(to_nhwc(before)) == expected
    assert_same_meaning(to_nhwc, before, terms=27)


def test_a_tensor_from_elsewhere_is_permuted_at_its_source() -> None:
    def before(emit, x, y):
        return conv(op.add(conv(x, SQUARE), y), SQUARE)

    source = module(before, IMAGE, IMAGE)
    names = " ".join(operators(to_nhwc(source)))
    assert names == "permute_dims nn.conv2d permute_dims add nn.conv2d permute_dims"
    assert_same_meaning(to_nhwc, source, terms=9)


def test_attention_keeps_its_permutations() -> None:
    def heads(x):
        return op.permute_dims(op.reshape(x, (1, 6, 2, 4)), [0, 2, 1, 3])

    def body(emit, x, y):
        return op.matmul(heads(x), op.permute_dims(heads(y), [0, 1, 3, 2]))

    source = module(body, (1, 6, 8), (1, 6, 8))
    names = operators(to_nhwc(source))
    assert names == ["reshape", "permute_dims", "reshape", "permute_dims", "matmul"]
    assert_same_meaning(to_nhwc, source, terms=4)


GROUPS = {
    "kept": ((2, 3), (2, 3), [([0], [0]), ([1], [1])]),
    "joined": ((2, 3, 4), (2, 12), [([0], [0]), ([1, 2], [1])]),
    "cut": ((2, 12), (2, 3, 4), [([0], [0]), ([1], [1, 2])]),
    "a unit axis goes": ((2, 1, 3), (2, 3), [([0], [0]), ([1], []), ([2], [1])]),
    "a unit axis comes": ((2, 3), (2, 3, 1), [([0], [0]), ([1], [1]), ([], [2])]),
    "many to many": ((6, 4), (3, 8), [([0, 1], [0, 1])]),
    "a scalar": ((1, 1), (), [([0], []), ([1], [])]),
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_reshape_falls_into_groups_of_axes(name: str) -> None:
    before, after, groups = GROUPS[name]
    assert list(axis_groups(before, after)) == groups


def test_a_bias_and_an_activation_go_before_a_reshape() -> None:
    bias = normal(2, 4)

    def before(emit, x):
        return op.nn.relu(op.add(op.reshape(op.matmul(x, x), (2, 4, 2, 4)), const(bias)))

    def expected(emit, x):
        biased = op.add(op.matmul(x, x), const(bias.reshape(1, 8)))
        return op.reshape(op.nn.relu(biased), (2, 4, 2, 4))

    assert_becomes(sink_reshapes, module(before, (8, 8)), module(expected, (8, 8)))


def test_a_scale_goes_before_the_whole_of_a_chain_of_movements() -> None:
    def before(emit, x):
        moved = op.reshape(op.permute_dims(op.reshape(x, (2, 3, 4)), [1, 0, 2]), (3, 8))
        return op.multiply(moved, const(0.5))

    def expected(emit, x):
        half = op.reshape(op.multiply(x, const(0.5)), (2, 3, 4))
        return op.reshape(op.permute_dims(half, [1, 0, 2]), (3, 8))

    assert_becomes(sink_reshapes, module(before, (6, 4)), module(expected, (6, 4)))


def test_an_operator_with_another_tensor_stays_behind_a_reshape() -> None:
    def body(emit, x, y):
        return op.add(op.reshape(x, (8,)), y)

    assert_stays(sink_reshapes, module(body, (2, 4), (8,)))


def test_codes_stay_where_the_model_has_them() -> None:
    def body(emit, x):
        return op.quantize(op.reshape(x, (8,)), const(0.5), const(0, "int8"))

    assert_stays(sink_reshapes, module(body, (2, 4)))
