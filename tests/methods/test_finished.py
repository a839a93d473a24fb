"""An interrupted reconstruction goes on from the last finished block."""

from dataclasses import replace

import numpy as np
import pytest

from hago.methods.ada_quant import AdaQuant
from tests.methods.narrowed import bottleneck, narrowed, stats_of

pytest.importorskip("torch")


class Stop(Exception):
    pass


def assert_same(first, second):
    for edge in first.weights:
        np.testing.assert_array_equal(first.weights[edge], second.weights[edge])
    for edge, quant in first.quants.items():
        np.testing.assert_array_equal(quant.scale, second.quants[edge].scale)


@pytest.fixture
def solved(monkeypatch):
    """The layers that were learned, in order; set ``solved.stop`` to interrupt one."""
    class Solved(list):
        stop = None

    names, solve = Solved(), AdaQuant._solve

    def watched(self, model, data):
        if data.block.layers[0] == names.stop:
            raise Stop
        names.append(data.block.layers[0])
        return solve(self, model, data)

    monkeypatch.setattr(AdaQuant, "_solve", watched)
    return names


MODULE = bottleneck()
MODEL, STATS = narrowed(MODULE, 4), stats_of(MODULE)


def test_a_run_that_was_stopped_learns_only_what_is_missing(solved, tmp_path):
    method = AdaQuant(steps=5, cache=str(tmp_path))
    solved.stop = "project"
    with pytest.raises(Stop):
        method.apply(MODEL, STATS)
    solved.stop = None
    resumed = method.apply(MODEL, STATS)
    assert solved == ["expand", "depthwise", "project", "last"]
    assert_same(resumed, replace(method, cache="").apply(MODEL, STATS))


@pytest.mark.parametrize("change", [{"steps": 6}, {"seed": 1}])
def test_other_options_start_anew(solved, tmp_path, change):
    method = AdaQuant(steps=5, cache=str(tmp_path))
    method.apply(MODEL, STATS)
    replace(method, **change).apply(MODEL, STATS)
    assert len(solved) == 8


def test_other_samples_start_anew(solved, tmp_path):
    method = AdaQuant(steps=5, cache=str(tmp_path))
    method.apply(MODEL, STATS)
    method.apply(MODEL, replace(STATS, data=STATS.data[1:]))
    assert len(solved) == 8


def test_other_numbers_start_anew(solved, tmp_path):
    method = AdaQuant(steps=5, cache=str(tmp_path))
    method.apply(MODEL, STATS)
    method.apply(narrowed(MODULE, 3), STATS)
    assert len(solved) == 8
