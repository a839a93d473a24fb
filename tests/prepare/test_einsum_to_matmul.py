"""Einstein's sums become products that give the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import ir, relax

from hago.prepare import prepare
from hago.prepare.einsum_to_matmul import einsum_to_matmul
from hago.realize.interpret import interpret
from tests.onnx_models import operators
from tests.relax_modules import assert_stays, module

SIZES = dict(zip("abcdefg", (2, 3, 4, 5, 1, 6, 2), strict=True))


def summed(subscripts, *shapes):
    return module(lambda emit, *x: relax.op.einsum(tuple(x), subscripts), *shapes)


def shapes_of(subscripts):
    inputs = subscripts.partition("->")[0].split(",")
    return [tuple(SIZES[label] for label in labels) for labels in inputs]


def assert_equal(subscripts, *shapes):
    """The changed module has no einsum and gives what numpy gives; its operators."""
    changed = einsum_to_matmul(summed(subscripts, *shapes))
    random = np.random.default_rng(0)
    values = [random.normal(size=shape).astype("float32") for shape in shapes]
    names = [str(param.name) for param in changed["main"].params]
    (result,) = interpret(changed, dict(zip(names, values, strict=True)))
    exact = np.einsum(subscripts, *(value.astype(np.float64) for value in values))
    assert result.shape == exact.shape
    np.testing.assert_allclose(result, exact, rtol=1e-4, atol=1e-4)
    found = list(operators(changed))
    assert "einsum" not in found
    return found


@pytest.mark.parametrize(("subscripts", "expected"), [
    ("abcd,abed->abce", ["permute_dims", "matmul"]),  # scores of an attention
    ("abce,abed->abcd", ["matmul"]),  # its contexts
    ("abce,abed->acbd", ["matmul", "permute_dims"]),
    ("abc,cd->abd", ["matmul"]),  # a layer: rows keep their axes
    ("abc,dc->abd", ["permute_dims", "matmul"]),
    ("abcd,cdf->abf", ["reshape", "reshape", "matmul"]),  # the heads' outputs joined
    ("abc,cdf->abdf", ["reshape", "matmul", "reshape"]),
    ("ab,ab->ab", ["multiply"]),
    ("a,b->ab", ["reshape", "reshape", "multiply"]),
    ("ab->ba", ["permute_dims"]),
    ("abc->b", ["sum"]),
])  # fmt: skip
def test_what_is_known_becomes_as_few_operations_as_it_can(subscripts, expected) -> None:
    assert assert_equal(subscripts, *shapes_of(subscripts)) == expected


@st.composite
def equations(draw: st.DrawFn) -> str:
    labels = st.lists(st.sampled_from("abcdefg"), unique=True, max_size=4).map("".join)
    inputs = draw(st.lists(labels.filter(bool), min_size=1, max_size=3))
    known = sorted(set("".join(inputs)))
    output = draw(st.lists(st.sampled_from(known), unique=True, max_size=4))
    return f"{','.join(inputs)}->{''.join(output)}"


@settings(max_examples=60)
@given(equations())
def test_any_sum_equals_that_of_numpy(subscripts) -> None:
    assert_equal(subscripts, *shapes_of(subscripts))


@pytest.mark.parametrize(("subscripts", "shapes"), [
    ("...ij,...jk->...ik", [(2, 3, 4, 5), (2, 3, 5, 6)]),
    ("...ij,jk->...ik", [(2, 3, 4, 5), (5, 6)]),
    ("...ij,...jk->...ik", [(3, 4, 5), (2, 3, 5, 6)]),
    ("ij,jk", [(4, 5), (5, 6)]),
    ("b...,a...", [(2, 3), (4, 3)]),
])  # fmt: skip
def test_an_ellipsis_and_an_implied_result_are_spelled_out(subscripts, shapes) -> None:
    assert_equal(subscripts, *shapes)


@pytest.mark.parametrize(("subscripts", "shapes"), [
    ("ii->i", [(3, 3)]),
    ("iij,j->i", [(3, 3, 2), (2,)]),
    ("ij,jk->ik", [(3, 1), (4, 2)]),  # a size that broadcasts
])  # fmt: skip
def test_what_is_no_product_stays(subscripts, shapes) -> None:
    assert_stays(einsum_to_matmul, summed(subscripts, *shapes))


def test_attention_by_sums_is_prepared_like_attention_by_products() -> None:
    def attention(scores, contexts):
        def body(emit, q, k, v):
            shares = emit(relax.op.nn.softmax(emit(scores(emit, q, k))))
            return contexts(emit, shares, v)

        return prepare(module(body, *[(1, 2, 8, 4)] * 3))

    by_sums = attention(
        lambda emit, q, k: relax.op.einsum((q, k), "bhid,bhjd->bhij"),
        lambda emit, shares, v: relax.op.einsum((shares, v), "bhij,bhjd->bhid"),
    )
    by_products = attention(
        lambda emit, q, k: relax.op.matmul(q, emit(relax.op.permute_dims(k, [0, 1, 3, 2]))),
        lambda emit, shares, v: relax.op.matmul(shares, v),
    )
    ir.assert_structural_equal(by_sums, by_products)


def test_preparing_twice_is_preparing_once() -> None:
    once = prepare(summed("bhid,bhjd->bhij", (1, 2, 3, 4), (1, 2, 5, 4)))
    ir.assert_structural_equal(prepare(once), once)
