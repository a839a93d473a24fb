"""Calls that no table of ours knows are computed by TVM, one at a time."""

import threading

import numpy as np
import pytest
from tvm import relax

from hago.by_tvm import value_by_tvm
from hago.errors import ModelError

op = relax.op


def variable(value, name="x"):
    return relax.Var(name, relax.TensorType(value.shape, str(value.dtype)))


def typed(call):
    return relax.BlockBuilder().normalize(call)


VALUE = np.random.default_rng(0).normal(size=(2, 6)).astype("float32")


def test_one_result_is_an_array():
    call = typed(op.cumsum(variable(VALUE), axis=1))
    np.testing.assert_allclose(value_by_tvm(call, [VALUE]), VALUE.cumsum(1), rtol=1e-5)


def test_several_results_are_a_tuple():
    values, places = value_by_tvm(typed(op.topk(variable(VALUE), 2, 1)), [VALUE])
    assert np.array_equal(values, -np.sort(-VALUE, axis=1)[:, :2])
    assert np.array_equal(places, np.argsort(-VALUE, axis=1)[:, :2])


def test_a_tuple_of_tensors_is_taken():
    call = typed(op.concat([variable(VALUE), variable(VALUE, "y")], axis=0))
    assert np.array_equal(value_by_tvm(call, [(VALUE, VALUE)]), np.concatenate([VALUE, VALUE]))


def test_what_takes_no_tensor_is_computed_too():
    call = typed(op.arange(2, 8, 3, "int64"))
    assert value_by_tvm(call, list(call.args)).tolist() == [2, 5]


def test_threads_share_what_was_compiled():
    call, found = typed(op.cumsum(variable(VALUE), axis=0)), []

    def compute(number):
        found.append(np.array_equal(value_by_tvm(call, [VALUE + number])[0], VALUE[0] + number))

    threads = [threading.Thread(target=compute, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_what_tvm_cannot_compute_is_named():
    data = np.ones((1, 8, 8, 3), "float32")
    weight = np.ones((3, 3, 3, 3), "float32")
    call = op.nn.conv2d_transpose(
        variable(data), variable(weight, "w"), dilation=2, data_layout="NHWC"
    )
    with pytest.raises(ModelError, match=r"'relax\.nn\.conv2d_transpose' cannot be computed"):
        value_by_tvm(typed(call), [data, weight])
