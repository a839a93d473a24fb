"""Guesses of latencies, and what is kept of measured ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hago.search.cache import Cache
from hago.search.cost_model import fit_cost_model, held_out_error
from hago.search.goal import Figures, Goal
from hago.search.problem import drop_curve, latency_factor
from hago.search.records import Record
from tests.search.problems import problem_of, tried


def measurements(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Latencies 2, 3 or 5 times the peak's, as the second feature says."""
    random = np.random.default_rng(0)
    peak, kind = random.uniform(5, 15, count), random.integers(0, 3, count)
    rows = np.stack([peak, kind, random.normal(size=count)], axis=1)
    return rows, np.exp(peak) * np.array([2e-6, 3e-6, 5e-6])[kind]


def test_few_measurements_give_their_median_distance_from_the_peak():
    rows = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])
    model = fit_cost_model(rows, (np.exp([1, 2, 3]) * 7).tolist())
    assert model.predict(np.array([[5.0, 1.0]])) == pytest.approx([np.exp(5) * 7])


def test_trees_learn_what_the_median_cannot_and_say_so_honestly():
    rows, latencies = measurements(200)
    error = held_out_error(rows, latencies.tolist())
    median = np.abs(3e-6 * np.exp(rows[:, 0]) / latencies - 1)
    assert error.measurements == 200
    assert error.relative < 0.1 * median[median > 0].mean()
    assert error.rank_correlation > 0.99


def test_the_same_measurements_give_the_same_guesses():
    rows, latencies = measurements(60)
    first, second = (fit_cost_model(rows, latencies.tolist()).predict(rows) for _ in range(2))
    assert np.array_equal(first, second)


def test_an_error_is_not_told_from_too_few_measurements():
    rows, latencies = measurements(9)
    assert held_out_error(rows, latencies.tolist()) is None


def test_a_cached_number_is_found_by_its_whole_key(tmp_path):
    cache = Cache(tmp_path).scoped({"machine": "a"})
    cache.put({"segment": "x"}, 1.5)
    assert cache.get({"segment": "x"}) == 1.5
    assert cache.get({"segment": "y"}) is None
    assert Cache(tmp_path).scoped({"machine": "b"}).get({"segment": "x"}) is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"value": 1}', '{"key": {}, "value": 1}'])
def test_a_damaged_cache_file_is_as_good_as_none_and_is_replaced(tmp_path, text):
    cache = Cache(tmp_path)
    cache.put({"segment": "x"}, 1.5)
    (path,) = tmp_path.rglob("*.json")
    path.write_text(text)
    assert cache.get({"segment": "x"}) is None
    cache.put({"segment": "x"}, 2.5)
    assert json.loads(path.read_text())["value"] == 2.5


def test_the_drop_rises_with_the_noise_through_what_was_seen():
    problem = problem_of(0, Goal("latency", max_drop=1e-3))
    levels = problem.space.levels()
    curve = drop_curve(problem, tried(problem, *levels, factor=3.0).records)
    noises = [problem.noise_of(level) for level in levels]
    assert [curve.at(noise) for noise in noises] == pytest.approx([3 * n for n in noises])
    middle = sum(noises[:2]) / 2
    assert curve.at(0) <= curve.at(middle) <= curve.at(max(noises))


def test_the_latency_factor_is_the_median_of_measured_over_summed():
    problem = problem_of(0, Goal("latency", max_drop=1e-3))
    records = []
    for number, (level, factor) in enumerate(
        zip(problem.space.levels(), (1.0, 1.2, 9.0), strict=False)
    ):
        latency = factor * problem.latency_of(level)
        names = tuple(problem.space.names(level))
        figures = Figures(latency_ms=latency)
        records.append(Record(number, "x", names, Figures(), figures, figures))
    assert latency_factor(problem, records) == pytest.approx(1.2)
    assert latency_factor(problem, []) == 1.0
