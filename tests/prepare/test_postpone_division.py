"""A softmax in front of a product is divided behind it, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special
from tvm import ir, relax

from hago.prepare import prepare
from hago.prepare.postpone_division import postpone_division
from hago.realize.interpret import interpret
from tests.onnx_models import operators
from tests.relax_modules import assert_stays, module

op = relax.op


def attended(emit, scores, values, axis=-1):
    return op.matmul(emit(op.nn.softmax(scores, axis=axis)), values)


@pytest.mark.parametrize(
    "shapes", [((5, 7), (7, 3)), ((2, 3, 5, 7), (2, 3, 7, 4)), ((2, 3, 5, 7), (7, 4))]
)
def test_a_product_of_shares_is_divided_by_the_sums_of_its_rows(shapes) -> None:
    changed = postpone_division(module(attended, *shapes))
    wanted = ["max", "subtract", "exp", "sum", "divide", "matmul", "multiply"]
    assert list(operators(changed)) == wanted
    random = np.random.default_rng(0)
    scores, values = (random.normal(size=s, scale=4).astype("float32") for s in shapes)
    names = [str(param.name) for param in changed["main"].params]
    (result,) = interpret(changed, dict(zip(names, (scores, values), strict=True)))
    exact = special.softmax(scores.astype(np.float64), axis=-1) @ values
    np.testing.assert_allclose(result, exact, rtol=1e-5, atol=1e-5)


def test_what_was_divided_behind_the_product_stays_as_it_is() -> None:
    once = prepare(module(attended, (5, 7), (7, 3)))
    ir.assert_structural_equal(prepare(once), once)


def read_twice(emit, scores, values):
    shares = emit(op.nn.softmax(scores))
    return op.add(emit(op.matmul(shares, values)), shares)


OTHERS = {
    "another reader": read_twice,
    "columns": lambda emit, scores, values: attended(emit, scores, values, axis=0),
    "the second factor": lambda emit, s, v: op.matmul(v, emit(op.nn.softmax(s))),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_softmaxes_keep_their_division(name: str) -> None:
    assert_stays(postpone_division, module(OTHERS[name], (7, 7), (7, 7)))
