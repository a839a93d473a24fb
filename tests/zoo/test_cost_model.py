"""Guesses of latencies, on latencies that are computed instead of measured."""

from __future__ import annotations

import numpy as np

from hago.clock import Clock
from hago.progress import SILENT
from hago.search.cache import Cache
from hago.search.subject import build_subject
from tests.search.stand_ins import ComputedRunner, request_of
from tests.zoo.cost_model import errors_of, measure


def test_what_was_measured_is_replayed_and_guessed_by_model_and_for_all_together(tmp_path):
    subject = build_subject(request_of(tmp_path), Clock(SILENT), lambda identity: None)
    cache, first, second = Cache(tmp_path / "cache"), ComputedRunner(), ComputedRunner()
    rows, latencies = measure(subject, 6, 0, first, cache)
    again = measure(subject, 6, 0, second, cache)
    assert first.calls > len(subject.space.levels())
    assert second.calls == 0
    assert np.array_equal(again[0], rows)
    assert again[1] == latencies
    errors = errors_of({"one": (rows, latencies), "other": again, "few": (rows[:3], latencies[:3])})
    assert errors["few"] is None
    assert errors["one"] == errors["other"]
    assert errors["all together"].measurements == 2 * len(latencies) + 3
    # the work of products on codes and on floats is told by the features, and so is their latency
    assert errors["all together"].rank_correlation > 0.9
