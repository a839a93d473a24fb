"""Which additions of constants are biases, that methods may move."""

from __future__ import annotations

import pytest
from tvm import relax

from hago.annotate import annotate
from hago.annotate.biases import biases_behind
from hago.hardware.load import load_spec
from tests.graphs import Builder

op = relax.op

READERS = {
    "an activation": (lambda b, x: op.nn.relu(x), True),
    "a dividend": (lambda b, x: op.divide(x, b.const(8)), True),
    "a logarithm": (lambda b, x: op.log(x), False),
    "a root": (lambda b, x: op.sqrt(x), False),
    "a divisor": (lambda b, x: op.divide(b.const(8), x), False),
    "a logarithm of what is moved": (
        lambda b, x: op.log(b.emit("moved", op.permute_dims(x, [0, 3, 1, 2]))),
        False,
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_what_keeps_an_argument_above_zero_is_no_bias(name: str) -> None:
    """By bias_correction log(x + 6e-8), of a power spectrum, was NaN."""
    body, is_bias = READERS[name]
    b = Builder(1, 6, 6, 4)
    guarded = b.emit("add", op.add(b.conv("conv", b.input, 8), b.const(8)))
    graph = annotate(b.done(b.emit("result", body(b, guarded))), load_spec("x86-vnni"))
    assert bool(biases_behind(graph)) == is_bias
