"""Shifts and scales of channels in front of products."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from hago.prepare.scale_channels import ChannelScale, scale_channels
from tests.onnx_models import assert_close, normal, run
from tests.relax_modules import const, module

op = relax.op
SCALE = np.float32([1, 2, 4, 8])
NONE, SHIFT = np.zeros(4, np.float32), np.float32([0, -1, 0.5, 3])
NHWC = {"data_layout": "NHWC", "kernel_layout": "OHWI"}


def conv(x: relax.Expr, outputs: int, groups: int) -> relax.Expr:
    weight = const(normal(outputs, 3, 3, 4 // groups))
    return op.nn.conv2d(x, weight, padding=1, groups=groups, **NHWC)


READERS = {
    "a matmul": ((2, 4), NONE, lambda x: op.matmul(x, const(normal(4, 3)))),
    "a matmul, shifted": ((2, 4), SHIFT, lambda x: op.matmul(x, const(normal(4, 3)))),
    "a convolution": ((1, 5, 5, 4), NONE, lambda x: conv(x, 6, groups=1)),
    "a grouped convolution": ((1, 5, 5, 4), NONE, lambda x: conv(x, 6, groups=2)),
    "a depthwise convolution": ((1, 5, 5, 4), NONE, lambda x: conv(x, 4, groups=4)),
}


@pytest.mark.parametrize("name", READERS)
def test_the_result_stays(name: str) -> None:
    shape, shift, reader = READERS[name]
    before = module(lambda emit, x: reader(emit(op.exp(x), name_hint="y")), shape)
    after = scale_channels(before, {"y": ChannelScale(SCALE, shift)})
    values = normal(*shape)
    (got,), (expected,) = run(after, values), run(before, values)
    # 36 products at most, of factors up to 8 times as large: three bits more than 36 alone.
    assert_close(got, expected, 8 * 36)


def test_other_readers_see_the_tensor_as_it_was() -> None:
    def body(emit: object, x: relax.Expr) -> relax.Expr:
        y = emit(op.exp(x), name_hint="y")
        return op.add(emit(op.matmul(y, const(np.eye(4)))), y)

    after = scale_channels(module(body, (2, 4)), {"y": ChannelScale(SCALE, NONE)})
    values = normal(2, 4)
    (got,) = run(after, values)
    assert_close(got, 2 * np.exp(values), 4)


def test_a_scale_is_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        ChannelScale(np.float32([1, 0]), np.zeros(2, np.float32))
