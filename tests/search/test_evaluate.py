"""The simulated module as the judge of strategies, compiled once."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from hago.annotate import annotate
from hago.errors import DataError
from hago.hardware.load import load_spec
from hago.realize import interpret, realize
from hago.search.evaluate import build_simulation, judge_of
from hago.search.metrics import find_metric
from tests.graphs import Builder, input_for
from tests.search.stand_ins import numbers_of

ONES = [{"y": np.ones(4)}]


@pytest.fixture(scope="module")
def network():
    """Two convolutions on a machine of the host's kind."""
    b = Builder(1, 6, 6, 8)
    value = b.conv("conv2d_1", b.conv("conv2d", b.input, 8, padding=1), 8, padding=1)
    module = b.done(value)
    main = module["main"].with_attr("hago.input_names", ["x"])
    module["main"] = main.with_attr("hago.output_names", ["y"])
    return numbers_of(annotate(module, load_spec("x86-avx2")))


def test_one_build_computes_what_every_strategy_realizes(network):
    run, inputs = build_simulation(network), input_for(network.graph.module)
    for assignment in [(0, 0), (1, 0), (0, 2), (2, 1), (0, 0)]:
        (found,) = run(assignment, [inputs])
        (expected,) = interpret(realize(network.model(assignment)), inputs)
        bound = 512 * np.finfo(np.float32).eps * np.abs(expected).max()
        assert np.abs(found["y"] - expected).max() <= bound, assignment


def test_what_is_the_same_for_all_samples_is_handed_over_once(network, monkeypatch):
    run, inputs = build_simulation(network), input_for(network.graph.module)
    made, tensor = [], tvm.runtime.tensor
    monkeypatch.setattr(tvm.runtime, "tensor", lambda value: made.append(value) or tensor(value))
    counts = []
    for samples in ([inputs], [inputs], [inputs] * 3):  # first weights are packed
        made.clear()
        run((1, 1), samples)
        counts.append(len(made))
    assert len(inputs) == 1
    assert counts[2] == counts[1] + 2


def test_nothing_is_judged_by_float_outputs_that_are_not_finite():
    outputs = [*ONES, {"y": np.array([1.0, np.inf])}]
    with pytest.raises(DataError, match="sample 1: output 'y' is not finite in float32"):
        judge_of(outputs, [{}, {}], None, find_metric("top1"))


def test_the_judge_tells_noise_and_the_drop_of_the_metric():
    judge = judge_of(ONES, [{}], None, find_metric("sqnr"))
    figures = judge.figures([{"y": np.full(4, 1.1)}])
    assert (figures.noise, figures.drop) == (pytest.approx(0.01), pytest.approx(0.01))
    with pytest.raises(DataError, match="not finite"):
        judge.figures([{"y": np.full(4, np.inf)}])
