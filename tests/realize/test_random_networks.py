"""Whatever a network is made of: integers mean what QDQ means, simulation predicts them, and the
compiled kernels compute them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tvm import ir

from hago.dataflow import read_dataflow
from hago.errors import StrategyError
from hago.frontend.onnx import import_onnx
from hago.graph import QuantModel
from hago.hardware.load import load_spec
from hago.lower.callable import compile_callable
from hago.prepare import prepare
from hago.realize import insert_qdq, interpret, realize
from hago.simulate import simulate
from tests.graphs import all_values, quantized
from tests.networks import Network, networks, results, save_network
from tests.onnx_models import EPSILON, normal

AVX2 = load_spec("x86-avx2")
# x / scale is at most 255. Of the values on the way to it each rounds by an epsilon; 8 steps and
# the approximations of exp and erf (16 epsilons) are between two codes.
TIE = 255 * (8 + 16) * EPSILON


@dataclass(frozen=True)
class Case:
    """A quantized network with an input none of whose codes lies on a tie."""

    model: QuantModel
    module: ir.IRModule
    inputs: dict[str, np.ndarray]


@st.composite
def cases(draw: st.DrawFn, steps: int = 7) -> Case:
    """Networks of which something can be quantized."""
    net: Network = draw(networks(steps))
    with tempfile.TemporaryDirectory() as folder:
        path = save_network(Path(folder) / "m.onnx", net, draw(results(net)))
        module = prepare(import_onnx(path))
    inputs = {"x": normal(*net.shapes["x"], seed=3)}
    try:
        model = quantized(module, AVX2, inputs)
    except StrategyError:
        assume(False)
    real = realize(model)
    assume(min(distance_to_tie(m, inputs) for m in (insert_qdq(model), real)) > TIE)
    return Case(model, real, inputs)


def distance_to_tie(module: ir.IRModule, inputs: dict[str, np.ndarray]) -> float:
    """How near the nearest ``x / scale`` of any quantize is to a half."""
    values, nearest = all_values(module, inputs), 0.5
    for quantize in (node for node in read_dataflow(module).nodes if node.op == "quantize"):
        codes = values[quantize.inputs[0]].astype(np.float64) / quantize.constants[1]
        nearest = min(nearest, float(np.abs(codes - np.floor(codes) - 0.5).min()))
    return nearest


def assert_equal_but_for_rounding(got: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """All codes are the same, so what is left is the float32 arithmetic after the last of them."""
    for result, wanted in zip(got, expected, strict=True):
        bound = 64 * 24 * EPSILON * max(float(np.abs(wanted).max()), EPSILON)
        assert float(np.abs(result - wanted).max()) <= bound


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(cases())
def test_qdq_and_simulation_and_integers_mean_the_same(case: Case) -> None:
    integers = interpret(case.module, case.inputs)
    assert_equal_but_for_rounding(integers, interpret(insert_qdq(case.model), case.inputs))
    simulation = simulate(case.model.graph)
    arguments = simulation.arguments(case.model)
    simulated = interpret(simulation.module, {**case.inputs, **arguments})
    assert_equal_but_for_rounding(simulated, integers)


@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(cases())
def test_kernels_compute_the_integers(case: Case) -> None:
    found = list(compile_callable(case.module, AVX2)(case.inputs).values())
    assert_equal_but_for_rounding(found, interpret(case.module, case.inputs))
