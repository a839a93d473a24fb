"""The simulated module as the judge of strategies, compiled once."""

from __future__ import annotations

import numpy as np
import pytest

from hago.annotate import annotate
from hago.errors import DataError
from hago.hardware.load import load_spec
from hago.realize import interpret, realize
from hago.search.cache import Cache
from hago.search.evaluate import build_simulation, judge_of, measure_noise
from hago.search.metrics import LARGEST_NOISE, find_metric
from tests.graphs import Builder, input_for
from tests.search.problems import space_of
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


def test_each_group_is_lowered_alone_and_found_again_in_the_cache(tmp_path):
    space, calls = space_of(2, 3), []

    def run(assignment):
        calls.append(assignment)
        return [{"y": np.ones(4) + 0.1 * sum(assignment)}]

    noise = measure_noise(space, run, ONES, Cache(tmp_path))
    assert calls == [(1, 0), (0, 1), (0, 2)]
    assert noise == (pytest.approx((0, 0.01)), pytest.approx((0, 0.01, 0.04)))
    assert measure_noise(space, run, ONES, Cache(tmp_path)) == noise
    assert len(calls) == 3


def test_an_option_whose_outputs_are_not_finite_is_as_noisy_as_can_be(tmp_path):
    noise = measure_noise(
        space_of(2), lambda assignment: [{"y": np.full(4, np.nan)}], ONES, Cache(tmp_path)
    )
    assert noise == ((0.0, LARGEST_NOISE),)


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
