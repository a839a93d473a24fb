"""First and second moments of what products read."""

import numpy as np
import pytest
from tvm import relax

from hago.calibrate.moments import (
    LARGEST,
    MOST,
    MomentObserver,
    Windows,
    rows_per_sample,
    windows_of,
)
from hago.dataflow import read_dataflow
from hago.realize.interpret import interpret
from tests.graphs import LAYOUT, Builder


def test_a_matmul_reads_the_rows_of_its_left_operand():
    observer = MomentObserver(Windows(1, 2))
    observer.observe(np.float32([[[1, 2], [3, 0]]]))
    observer.observe(np.float32([[[1, 1]]]))
    # (1 1, 1 2 + 0 + 1 1, 2 2 + 0 + 1 1) of three rows.
    assert observer.moments().second[0] * 3 == pytest.approx(np.array([[11, 3], [3, 5]]))


CONVOLUTIONS = {
    "padded": {"padding": 1},
    "strided": {"strides": 2, "padding": (0, 1, 1, 0)},
    "dilated": {"dilation": 2},
    "grouped": {"groups": 2, "padding": 1},
    "depthwise": {"groups": 4, "strides": (1, 2)},
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_rows_times_weights_are_the_convolution(name):
    b = Builder(1, 6, 7, 4)
    module = b.done(b.conv("conv2d", b.input, 8, **CONVOLUTIONS[name]))
    (node,) = (n for n in read_dataflow(module).nodes if n.op == "nn.conv2d")
    windows, weight = windows_of(node), node.constants[1]
    data = np.random.default_rng(0).integers(-4, 5, (1, 6, 7, 4)).astype(np.float32)
    rows = windows.rows(data, np.random.default_rng(0), count=1000)
    weights = weight.reshape(windows.groups, -1, windows.length)
    products = np.einsum("grk,gnk->rgn", rows, weights).reshape(len(rows[0]), -1)
    (expected,) = interpret(module, {"x": data})
    # Sums of 36 products in another order: 36 rounding errors of the largest term at most.
    bound = 36 * np.finfo(np.float32).eps * np.abs(weights).max() * 4 * 36
    assert np.abs(products - expected.reshape(products.shape)).max() <= bound


def test_of_many_rows_a_fixed_number_is_taken_from_all_over():
    data = np.arange(1000, dtype=np.float32).reshape(1, 1000, 1)
    rows = Windows(1, 1).rows(data, np.random.default_rng(0))
    assert rows.shape == (1, MOST, 1)
    # One of each part: neighbours are less than two parts apart.
    assert np.diff(rows[0, :, 0]).max() < 2 * 1000 / MOST


@pytest.mark.parametrize(
    ("length", "samples", "rows"),
    [(384, None, 128), (384, 1, 128), (384, 100, 31), (27, 100, 16)],
)
def test_many_samples_need_few_rows_each(length, samples, rows):
    assert rows_per_sample(Windows(1, length), samples) == rows


def test_the_same_data_give_the_same_moments():
    data = np.random.default_rng(0).normal(size=(1, 500, 3)).astype(np.float32)
    once, again = MomentObserver(Windows(1, 3)), MomentObserver(Windows(1, 3))
    for observer in (once, again):
        observer.observe(data)
    assert np.array_equal(once.moments().mean, again.moments().mean)
    assert np.array_equal(once.moments().covariance, again.moments().covariance)


def test_the_covariance_of_what_hardly_varies_keeps_its_digits():
    random = np.random.default_rng(0)
    rows = (1000 + random.normal(size=(20, 100, 3)) * [1, 0.01, 0]).astype(np.float32)
    observer = MomentObserver(Windows(1, 3))
    for each in rows:
        observer.observe(each[np.newaxis])
    exact = rows.reshape(-1, 3).astype(np.float64)
    found = observer.moments()
    np.testing.assert_allclose(found.mean[0], exact.mean(axis=0), rtol=1e-7)
    np.testing.assert_allclose(np.diag(found.covariance[0]), exact.var(axis=0), rtol=1e-3)


def test_a_product_of_too_many_inputs_is_left_out():
    b = Builder(1, 2, LARGEST + 1)
    module = b.done(b.dense("matmul", b.input, 2))
    assert windows_of(read_dataflow(module).nodes[0]) is None


def test_kernels_are_read_in_the_order_of_the_weights():
    x = relax.const(np.zeros((1, 4, 4, 3), np.float32))
    weight = relax.const(np.zeros((5, 2, 3, 3), np.float32))
    assert relax.op.nn.conv2d(x, weight, **LAYOUT).attrs.groups == 1
    b = Builder(1, 4, 4, 3)
    module = b.done(b.emit("conv2d", relax.op.nn.conv2d(b.input, weight, **LAYOUT)))
    assert windows_of(read_dataflow(module).nodes[0]) == Windows(1, 18, (2, 3))
