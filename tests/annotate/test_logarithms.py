"""What a logarithm is taken of is in no codes of integers."""

from __future__ import annotations

import pytest
from tvm import relax

from hago.annotate import annotate, choose_strategy
from hago.errors import StrategyError
from hago.hardware.load import load_spec
from hago.scheme import BFLOAT16
from tests.graphs import Builder

op = relax.op
SPEC = load_spec("x86-vnni")


def spectrogram(b: Builder, between, guard: float = 1e-6):
    """log(between(conv(x)) M + guard)."""
    waves = b.conv("waves", b.input, 8, kernel=1)
    bands = b.conv("bands", b.emit("between", between(waves)), 4, kernel=1)
    guarded = b.emit("guarded", op.add(bands, relax.const(guard, "float32")))
    return b.emit("level", op.log(guarded))


def integers(module, spec=SPEC) -> set[str]:
    """The products that read codes of integers."""
    graph = annotate(module, spec)
    return {
        edge.dst
        for edge, schemes in graph.choices.items()
        if any(scheme.dtype.is_integer for scheme in schemes)
    }


@pytest.mark.parametrize("between", [op.square, op.abs, lambda x: op.multiply(x, x)])
def test_a_spectrogram_stays_float_and_the_network_behind_it_does_not(between) -> None:
    b = Builder(1, 6, 6, 4)
    module = b.done(b.conv("network", spectrogram(b, between), 8))
    assert integers(module) == {"network"}


def test_a_function_that_ends_the_chain_ends_it() -> None:
    b = Builder(1, 6, 6, 4)
    assert integers(b.done(spectrogram(b, op.nn.relu))) == {"waves"}


def test_a_logarithm_of_what_is_above_one_is_like_any_function() -> None:
    b = Builder(1, 6, 6, 4)
    assert {"waves", "bands"} <= integers(b.done(spectrogram(b, op.square, guard=1.0)))


def test_bfloat16_has_relative_precision() -> None:
    b = Builder(1, 6, 6, 4)
    graph = annotate(b.done(spectrogram(b, op.square)), load_spec("x86-bf16"))
    found = {edge.dst for edge, schemes in graph.choices.items() for s in schemes
             if s.dtype == BFLOAT16}  # fmt: skip
    assert {"waves", "bands"} <= found


def test_where_nothing_is_left_the_reason_is_told() -> None:
    b = Builder(1, 6, 6, 4)
    graph = annotate(b.done(spectrogram(b, op.square)), SPEC)
    with pytest.raises(StrategyError, match="a logarithm of what waves gives needs relative"):
        choose_strategy(graph, "int8")
