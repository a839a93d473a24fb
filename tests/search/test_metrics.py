"""Measures of accuracy at their limits."""

from __future__ import annotations

import numpy as np
import pytest

from hago.clock import Clock
from hago.errors import DataError, StrategyError
from hago.progress import SILENT
from hago.search.goal import Figures, Goal
from hago.search.metrics import (
    METRICS,
    Reference,
    doubt_of,
    drop_power,
    find_metric,
    noise_share,
    step_of,
)
from hago.search.subject import build_subject
from tests.search.stand_ins import request_of

EXACT = [{"y": np.array([[2.0, 1.0, 0.0]])}, {"y": np.array([[0.0, 1.0, 2.0]])}]
OTHER = [{"y": np.array([[2.0, 1.0, 0.0]])}, {"y": np.array([[2.0, 1.0, 0.0]])}]
LABELS = np.array([0, 1])
REFERENCE = Reference(EXACT, [{}, {}], LABELS)
PERFECT = {"top1": 1.0, "accuracy": 0.5, "sqnr": 1.0, "cosine": 1.0, "kl": 0.0}


@pytest.mark.parametrize("name", METRICS)
def test_the_float_outputs_score_as_well_as_they_can(name):
    assert find_metric(name)(EXACT, REFERENCE) == pytest.approx(PERFECT[name])


@pytest.mark.parametrize("name", ["top1", "sqnr", "cosine", "kl"])
def test_other_outputs_score_less(name):
    assert find_metric(name)(OTHER, REFERENCE) < PERFECT[name]


def test_top1_counts_where_the_largest_element_is_the_same():
    assert find_metric("top1")(OTHER, REFERENCE) == 0.5


def test_metrics_that_count_change_by_whole_results():
    assert step_of("top1", REFERENCE) == 0.5
    assert step_of("sqnr", REFERENCE) == 0


def test_few_results_say_little_about_new_ones():
    # Clopper and Pearson: of n results without a change at most 1 - (alpha / 2)^(1 / n) change.
    found = doubt_of("top1", 0.0, 1 / 104)
    assert (found.changed, found.results, found.low) == (0, 104, 0.0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 104))
    few, many = doubt_of("top1", 0.01, 1 / 100), doubt_of("top1", 0.01, 1 / 10000)
    assert (few.changed, many.changed) == (1, 100)
    assert few.low < many.low < 0.01 < many.high < few.high


@pytest.mark.parametrize(("metric", "drop", "step"), [
    ("accuracy", 0.01, 0.01),  # results that float has wrong change, too
    ("sqnr", 0.01, 0.0),
    ("top1", None, 0.01),
])  # fmt: skip
def test_of_what_counts_no_changes_nothing_is_said(metric, drop, step):
    assert doubt_of(metric, drop, step) is None


@pytest.mark.parametrize("name", ["top1", "sqnr", "kl"])
def test_drops_rise_with_the_power_of_the_noise_that_is_told(name):
    """Twice the noise's power makes 2 ** power times the drop, on average over margins."""
    random = np.random.default_rng(0)
    exact, noise = random.normal(size=(2, 20000, 3))
    exact = 3 * exact
    drops = []
    for size in (0.02, 0.04):
        outputs = [{"y": exact + np.sqrt(size) * noise}]
        reference = Reference([{"y": exact}], [{}])
        score = find_metric(name)
        drops.append(score(reference.outputs, reference) - score(outputs, reference))
    # 20,000 results of which a few hundred change: a tenth is two standard errors of a quotient.
    assert drops[1] / drops[0] == pytest.approx(2 ** drop_power(name), rel=0.1)


def test_a_drop_of_a_thousandth_is_an_sqnr_of_thirty_decibels():
    exact = [{"y": np.array([1.0, 0.0])}]
    near = [{"y": np.array([1.0, 10 ** (-30 / 20)])}]
    score = find_metric("sqnr")(near, Reference(exact, [{}]))
    assert 1 - score == pytest.approx(1e-3)


def test_kl_is_the_divergence_of_the_softmaxes():
    p, q = np.array([0.7, 0.3]), np.array([0.4, 0.6])
    score = find_metric("kl")([{"y": np.log(q)}], Reference([{"y": np.log(p)}], [{}]))
    assert -score == pytest.approx((p * np.log(p / q)).sum())


@pytest.mark.parametrize(("labels", "error"), [(None, "needs labels"), ("a.npy", "no labels")])
def test_accuracy_without_labels_is_refused_before_the_long_work(tmp_path, labels, error):
    request = request_of(tmp_path, metric="accuracy", labels=labels and tmp_path / labels)
    request.model.unlink()
    with pytest.raises(DataError, match=error):
        build_subject(request, Clock(SILENT), lambda identity: None)


def test_labels_of_another_number_are_refused():
    with pytest.raises(DataError, match="3 labels for 2 results"):
        find_metric("accuracy")(EXACT, Reference(EXACT, [{}, {}], np.zeros(3)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("top", "did you mean 'top1'"),
        ("nowhere.py:score", "cannot be imported"),
        ("no_such_module:score", "cannot be imported"),
        ("math:no_such_function", "has no function"),
    ],
)
def test_a_metric_that_is_not_there_is_an_error(name, message):
    with pytest.raises(DataError, match=message):
        find_metric(name)


def test_a_users_metric_may_be_in_an_importable_module(tmp_path, monkeypatch):
    (tmp_path / "my_metric.py").write_text("def count(outputs, samples):\n    return len(outputs)")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_metric("my_metric:count")(OTHER, REFERENCE) == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return float('nan')", "gave nan"),
        ("return 'good'", "failed: ValueError: .* 'good'\n  It is given"),
        ("return None", "failed: TypeError"),
        ("class Mine(Exception): pass\n    raise Mine('no')", "failed: Mine: no"),
        ("return score(outputs, samples)", "failed: RecursionError"),
        ("outputs[0]['y'][:] = 0", "failed: ValueError: assignment destination is read-only"),
    ],
)
def test_a_users_metric_must_give_a_finite_number(tmp_path, body, message):
    (tmp_path / "m.py").write_text(f"def score(outputs, samples):\n    {body}")
    with pytest.raises(DataError, match=message):
        find_metric(f"{tmp_path / 'm.py'}:score")(OTHER, REFERENCE)


@pytest.mark.parametrize("text", ["1 / 0", "def score(:", "class E(Exception): pass\nraise E"])
def test_a_users_file_that_fails_is_named(tmp_path, text):
    (tmp_path / "m.py").write_text(text)
    with pytest.raises(DataError, match=r"m.py: cannot be imported\n  \w*E"):
        find_metric(f"{tmp_path / 'm.py'}:score")


def test_bounds_come_before_the_objective():
    goal = Goal("latency", max_drop=0.01)
    slow, fast = Figures(0.0, 0.01, 5.0, 1.0), Figures(0.0, 0.011, 1.0, 1.0)
    assert goal.rank(slow) < goal.rank(fast)
    assert goal.violation(slow) == 0
    assert goal.violation(fast) == pytest.approx(0.1)


def test_what_is_not_known_keeps_no_bound():
    assert Goal("accuracy", max_latency_ms=1.0).violation(Figures(drop=0.0)) == float("inf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objective": "speed"}, "no objective 'speed'"),
        ({"objective": "latency"}, "needs a bound on accuracy"),
        ({"objective": "accuracy", "max_latency_ms": -1.0}, "not negative"),
        ({"objective": "accuracy", "max_drop": float("nan")}, "not negative"),
    ],
)
def test_a_goal_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(StrategyError, match=message):
        Goal(**arguments)


def test_a_metric_that_ends_the_program_failed(tmp_path):
    place = tmp_path / "quits.py"
    place.write_text("import sys\n\ndef quits(outputs, samples):\n    sys.exit(3)\n")
    with pytest.raises(DataError, match="ends the program with exit code 3"):
        find_metric(f"{place}:quits")(EXACT, REFERENCE)


def test_a_program_that_is_told_to_end_does_so_in_a_metric_too(tmp_path):
    place = tmp_path / "waits.py"
    place.write_text("def waits(outputs, samples):\n    raise SystemExit(143)\n")
    with pytest.raises(SystemExit):
        find_metric(f"{place}:waits")(EXACT, REFERENCE)


def test_noise_is_judged_by_sample_and_never_infinite():
    exact = [{"y": np.array([1.0, 0.0])}, {"y": np.array([100.0, 0.0])}]
    near = [{"y": np.array([1.0, 0.1])}, {"y": np.array([100.0, 10.0])}]
    assert noise_share(near, exact) == pytest.approx(0.01)
    assert noise_share([{"y": np.array([1.0])}], [{"y": np.array([0.0])}]) == 1e6
    with pytest.raises(DataError, match="not finite"):
        noise_share([{"y": np.array([np.nan])}], [{"y": np.array([0.0])}])
