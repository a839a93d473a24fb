"""Products keep the axes that their operands were joined from."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax

from hago.prepare import prepare
from hago.prepare.remove_identities import remove_identities
from hago.prepare.unfold_batches import unfold_batches
from tests.onnx_models import normal, operators
from tests.relax_modules import assert_becomes, assert_same_meaning, assert_stays, const, module

op = relax.op
Q, K, V = (2, 3, 5, 4), (2, 3, 4, 7), (2, 3, 7, 4)  # samples, heads
WEIGHT = normal(4, 6)


def joined(x):
    """Samples and heads as one axis, as a bmm takes them."""
    _, _, *rest = (int(extent) for extent in x.ty.shape)
    return op.reshape(x, (6, *rest))


def test_a_product_has_the_axes_that_its_left_operand_was_joined_from() -> None:
    def before(emit, q, k):
        return op.matmul(joined(q), k)

    def expected(emit, q, k):
        return op.reshape(op.matmul(op.reshape(q, Q), op.reshape(k, K)), (6, 5, 7))

    start, end = (module(body, Q, (6, *K[2:])) for body in (before, expected))
    assert_becomes(lambda m: remove_identities(unfold_batches(m)), start, remove_identities(end))
    assert_same_meaning(unfold_batches, start, terms=4)


def test_a_product_has_the_axes_that_it_is_cut_into() -> None:
    def before(emit, q, k):
        return op.reshape(op.matmul(q, k), (2, 3, 5, 7))

    def expected(emit, q, k):
        return op.matmul(op.reshape(q, Q), op.reshape(k, K))

    start, end = (module(body, (6, *Q[2:]), (6, *K[2:])) for body in (before, expected))
    assert_becomes(unfold_batches, start, end)
    assert_same_meaning(unfold_batches, start, terms=4)


def test_a_mask_and_a_softmax_stand_between_the_products_of_an_attention() -> None:
    def body(emit, q, k, v, mask):
        scores = op.reshape(op.matmul(joined(q), joined(k)), (2, 3, 5, 7))
        shares = op.nn.softmax(op.add(scores, mask))
        return op.reshape(op.matmul(joined(emit(shares)), joined(v)), (2, 3, 5, 4))

    before = module(body, Q, K, V, (2, 1, 1, 7))
    assert operators(remove_identities(unfold_batches(before))) == [
        "matmul", "add", "nn.softmax", "matmul",
    ]  # fmt: skip
    assert "reshape" not in operators(prepare(before))
    assert_same_meaning(prepare, before, terms=64)


def test_rows_that_are_joined_before_a_layer_stay_as_they_were() -> None:
    def before(emit, x):
        return op.matmul(op.reshape(x, (10, 4)), const(WEIGHT))

    def expected(emit, x):
        return op.reshape(op.matmul(x, const(WEIGHT)), (10, 6))

    assert_becomes(unfold_batches, module(before, (2, 5, 4)), module(expected, (2, 5, 4)))


BIASES = {"no": None, "a": normal(6, seed=1), "one": np.float32(2)}


@pytest.mark.parametrize("bias", BIASES.values(), ids=BIASES)
def test_rows_that_are_cut_behind_a_layer_are_cut_before_it(bias) -> None:
    def biased(product):
        return product if bias is None else op.add(product, const(bias))

    def before(emit, x):
        return op.reshape(biased(op.matmul(x, const(WEIGHT))), (2, 5, 6))

    def expected(emit, x):
        return biased(op.matmul(op.reshape(x, (2, 5, 4)), const(WEIGHT)))

    assert_becomes(unfold_batches, module(before, (10, 4)), module(expected, (10, 4)))


def test_the_layers_of_a_block_have_no_reshape_between_them() -> None:
    """As torch.export writes two linear layers with a residual."""

    def body(emit, x):
        first = op.add(op.matmul(op.reshape(x, (10, 4)), const(WEIGHT)), const(normal(6)))
        gate = op.nn.relu(op.reshape(first, (2, 5, 6)))
        last = op.matmul(op.reshape(emit(gate), (10, 6)), const(WEIGHT.T.copy()))
        return op.add(x, op.reshape(last, (2, 5, 4)))

    before = module(body, (2, 5, 4))
    assert operators(prepare(before)) == ["matmul", "add", "nn.relu", "matmul", "add"]
    assert_same_meaning(prepare, before, terms=24)


def values_alone(emit, q, k):
    return op.matmul(op.nn.relu(joined(q)), joined(k))


def several_batches_of_one_matrix(emit, q, k):
    return op.matmul(joined(q), op.reshape(k, (1, 4, 42)))


def channels_as_rows(emit, q, k):
    return op.matmul(op.reshape(q, (20, 6)), const(normal(6, 3)))


def an_image(emit, q, k):
    return op.matmul(op.reshape(q, (30, 4)), const(WEIGHT))


def read_before_it_is_cut(emit, q, k):
    rows = emit(op.matmul(op.nn.relu(op.reshape(q, (30, 4))), const(WEIGHT)))
    return op.add(op.reshape(rows, (6, 5, 6)), op.reshape(op.exp(rows), (6, 5, 6)))


@pytest.mark.parametrize(
    "body",
    [
        values_alone,
        several_batches_of_one_matrix,
        channels_as_rows,
        an_image,
        read_before_it_is_cut,
    ],
)
def test_what_was_not_joined_stays(body) -> None:
    assert_stays(unfold_batches, module(body, Q, K))
