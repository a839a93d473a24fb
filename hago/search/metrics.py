"""How good outputs are: measures with one sign, more is better, and a loss that a bound limits."""

from __future__ import annotations

import importlib
import importlib.util
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
from scipy.stats import binomtest

from hago.errors import DataError
from hago.sample import Sample, did_you_mean
from hago.scheme import Array
from hago.search.worker import outcome_of

Outputs = Sequence[Mapping[str, Array]]
Floats64 = Array


@dataclass(frozen=True, eq=False)
class Reference:
    """What outputs are judged by: the float model's, the samples, and labels where there are
    any (int64 ``[samples]``)."""

    outputs: Outputs
    samples: Sequence[Sample]
    labels: Array | None = None


Score = Callable[[Outputs, Reference], float]

LARGEST_NOISE = 1e6  # noise over signal power
_USE = "It is given the outputs and the samples, lists of dicts of arrays, and returns a number."


def noise_share(outputs: Outputs, exact: Outputs) -> float:
    """Noise over signal power, each sample and output having the same say: 1e-3 is 30 dB.

    Capped, so that one wrong sample is bad but finite. Raises DataError for outputs that are not
    finite.
    """
    shares = []
    for found, wanted in zip(outputs, exact, strict=True):
        for name, value in wanted.items():
            left, right = found[name].astype(np.float64), value.astype(np.float64)
            if not np.isfinite(left).all():
                raise DataError(f"output '{name}' is not finite")
            signal, noise = np.square(right).sum(), np.square(left - right).sum()
            shares.append(min(noise / max(signal, 1e-30), LARGEST_NOISE))
    return float(np.mean(shares))


def _top1(outputs: Outputs, reference: Reference) -> float:
    """The share of largest elements (last axis of the first output) where float has its own."""
    return _same(_tops(outputs), _tops(reference.outputs))


def _accuracy(outputs: Outputs, reference: Reference) -> float:
    """The share of samples whose largest element is their label."""
    assert reference.labels is not None, "check_labels"
    return _same(_tops(outputs), np.ravel(reference.labels))


def _sqnr(outputs: Outputs, reference: Reference) -> float:
    """One less noise over signal power: a drop of 0.001 is an SQNR of 30 dB."""
    return 1.0 - noise_share(outputs, reference.outputs)


def _cosine(outputs: Outputs, reference: Reference) -> float:
    """The mean cosine between the first outputs."""
    pairs = zip(_firsts(outputs), _firsts(reference.outputs), strict=True)
    return float(np.mean([_cosine_of(np.ravel(a), np.ravel(b)) for a, b in pairs]))


def _kl(outputs: Outputs, reference: Reference) -> float:
    """Less the mean Kullback-Leibler divergence (nats) of softmaxed first outputs from float's."""
    pairs = zip(_firsts(outputs), _firsts(reference.outputs), strict=True)
    return -float(np.mean([_divergence(_logs(b), _logs(a)) for a, b in pairs]))


_TERMINATED = 128 + signal.SIGTERM  # the exit code of a program that is told to end
METRICS: Mapping[str, Score] = {
    "top1": _top1,
    "accuracy": _accuracy,
    "sqnr": _sqnr,
    "cosine": _cosine,
    "kl": _kl,
}


_COUNTED = ("top1", "accuracy")


def step_of(metric: str, reference: Reference) -> float:
    """The least by which a ``metric`` that counts results can change; 0 for others."""
    return 1 / _tops(reference.outputs).size if metric in _COUNTED else 0.0


@dataclass(frozen=True)
class Doubt:
    """``changed`` of ``results`` were others than float's; of new ones ``low`` to ``high`` will be.

    The interval has 95% (C. Clopper and E. Pearson, The use of confidence or fiducial limits,
    Biometrika 26, 1934), for a strategy that was not picked by these results.
    """

    changed: int
    results: int
    low: float
    high: float


def doubt_of(metric: str, drop: float | None, step: float) -> Doubt | None:
    """What a ``drop`` says of new data, for a ``metric`` that counts changes by ``step``; None for
    others."""
    if metric != "top1" or drop is None or not step:
        return None
    changed, results = round(drop / step), round(1 / step)
    interval = binomtest(changed, results).proportion_ci(0.95, "exact")
    return Doubt(changed, results, float(interval.low), float(interval.high))


def drop_power(metric: str) -> float:
    """The power of the noise share with which the drop of ``metric`` rises.

    Results change whose margin the noise reaches: of few changes there are as many as its
    amplitude is large, the root of its power. Other drops are errors' squares themselves.
    """
    return 0.5 if metric in _COUNTED else 1.0


def find_metric(name: str) -> Score:
    """A metric of :data:`METRICS`, or a user's own: ``file.py:function``, ``module:function``.

    The user's is called with (outputs, samples), two lists of dicts of arrays by name, and gives
    a number of which more is better. Raises DataError where there is none.
    """
    if name in METRICS:
        return METRICS[name]
    place, colon, function = name.rpartition(":")
    if not colon:
        raise DataError(
            f"no metric '{name}'{did_you_mean(name, METRICS)}",
            fact=f"hago knows {', '.join(METRICS)}",
            way_out="Give one of these, or your own as file.py:function.",
        )
    found = getattr(_module(place), function, None)
    if not callable(found):
        raise DataError(f"metric '{name}': {place} has no function '{function}'")
    return _users(name, found)


def check_labels(metric: str, labels: object) -> None:
    """Raises DataError where there are none and ``metric`` needs them."""
    if metric == "accuracy" and labels is None:
        raise DataError(
            "the metric 'accuracy' needs labels",
            fact="it is the share of samples whose largest result is their label",
            way_out="Give them with --labels, or --metric top1: what float32 gives is right then.",
        )


def _users(name: str, function: Callable[..., object]) -> Score:
    def score(outputs: Outputs, reference: Reference) -> float:
        given = map(_unwritable, (outputs, reference.samples))
        is_result, value = outcome_of(_number, function, *given)
        if not is_result:
            raise DataError(f"metric '{name}' failed: {value}", way_out=_USE)
        if not np.isfinite(value):
            raise DataError(f"metric '{name}' gave {value}", way_out="It must be a finite number.")
        return float(value)

    return score


def _number(function: Callable[..., Any], outputs: Outputs, samples: Sequence[Sample]) -> float:
    try:
        return float(function(outputs, samples))
    except SystemExit as error:
        if error.code == _TERMINATED:
            raise
        raise RuntimeError(f"it ends the program with exit code {error.code}") from error


def _unwritable(arrays: Outputs) -> list[dict[str, Array]]:
    """The same arrays, which later trials are judged by, for who may only read them."""
    views = [{name: value.view() for name, value in each.items()} for each in arrays]
    for view in (view for each in views for view in each.values()):
        view.flags.writeable = False
    return views


def _module(place: str) -> ModuleType:
    is_result, found = outcome_of(_imported, place)
    if not is_result:
        raise DataError(f"{place}: cannot be imported", fact=found)
    return cast("ModuleType", found)


def _imported(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location(Path(place).stem, place)
    if spec is None or spec.loader is None:
        raise ImportError(place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _firsts(outputs: Outputs) -> list[Floats64]:
    return [next(iter(each.values())).astype(np.float64) for each in outputs]


def _tops(outputs: Outputs) -> Array:
    tops = [np.atleast_1d(each.argmax(axis=-1)).ravel() for each in _firsts(outputs)]
    return np.concatenate(tops)


def _same(found: Array, wanted: Array) -> float:
    if found.shape != wanted.shape:
        raise DataError(f"{wanted.size} labels for {found.size} results")
    return float(np.mean(found == wanted))


def _cosine_of(left: Floats64, right: Floats64) -> float:
    norm = np.linalg.norm(left) * np.linalg.norm(right)
    return float(left @ right / norm) if norm else float(np.array_equal(left, right))


def _logs(scores: Floats64) -> Floats64:
    """Logarithms of the softmax over the last axis."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _divergence(exact: Floats64, actual: Floats64) -> float:
    return float((np.exp(exact) * (exact - actual)).sum(axis=-1).mean())
