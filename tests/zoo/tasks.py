"""Which data a zoo model is calibrated and judged with, and by which measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from hago.accuracy import sqnr_db
from hago.sample import Sample
from hago.scheme import Array
from tests.zoo.ctc import decode, read_dictionary
from tests.zoo.metrics import (
    character_accuracy,
    line_accuracy,
    mean_cosine,
    nearest_neighbour_agreement,
    top1_agreement,
)
from tests.zoo.photos import load_photos
from tests.zoo.sentences import read_sentences, tokenize
from tests.zoo.text_lines import find_fonts, render_lines

Figures = dict[str, float]
_SHARE = 0.8
T = TypeVar("T")
CALIBRATION_LINES, EVALUATION_LINES = 64, 300


def drawn(samples: Sequence[T], seed: int) -> list[T]:
    """Four of five ``samples``, in their order: what calibration sees of them with a ``seed``."""
    count = round(_SHARE * len(samples))
    kept = np.random.default_rng(seed).choice(len(samples), count, replace=False)
    return [samples[index] for index in np.sort(kept)]


@dataclass(frozen=True, eq=False)
class Material:
    """Inputs by name, the first axis is samples, and what is true of them where it is known."""

    inputs: Mapping[str, Array]
    truth: tuple[str, ...] = ()

    def samples(self) -> list[Sample]:
        """Each sample by itself, with a first axis of one."""
        return [{k: rows[i : i + 1] for k, rows in self.inputs.items()} for i in range(len(self))]

    def drawn(self, seed: int) -> Material:
        """The samples that ``seed`` draws."""
        kept = drawn(range(len(self)), seed)
        truth = tuple(self.truth[i] for i in kept) if self.truth else ()
        return Material({name: rows[kept] for name, rows in self.inputs.items()}, truth)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class Task:
    """``calibration`` and ``evaluation`` read the folder of data.

    ``figures(exact, actual, truth, model file)`` compares the first outputs [n, ...].
    """

    calibration: Callable[[Path], Material]
    evaluation: Callable[[Path], Material]
    figures: Callable[[Array, Array, tuple[str, ...], Path], Figures]


def _photos(part: str) -> Callable[[Path], Material]:
    return lambda data: Material({"input": load_photos(data / "photos" / part)})


def _sentences(part: str) -> Callable[[Path], Material]:
    return lambda data: Material(tokenize(read_sentences(data / f"sentences-{part}.txt")))


def _lines(count: int, seed: int) -> Callable[[Path], Material]:
    def render(_: Path) -> Material:
        lines = render_lines(count, seed, find_fonts())
        truth = tuple(line.text for line in lines)
        return Material({"x": np.stack([line.pixels for line in lines])}, truth)

    return render


def _classes(exact: Array, actual: Array, truth: tuple[str, ...], model: Path) -> Figures:
    return {"top-1 agreement": top1_agreement(exact, actual), "logit SQNR dB": _sqnr(exact, actual)}


def _embeddings(exact: Array, actual: Array, truth: tuple[str, ...], model: Path) -> Figures:
    return {
        "mean cosine": mean_cosine(exact, actual),
        "nearest-neighbour agreement": nearest_neighbour_agreement(exact, actual),
        "SQNR dB": _sqnr(exact, actual),
    }


def _texts(exact: Array, actual: Array, truth: tuple[str, ...], model: Path) -> Figures:
    dictionary = read_dictionary(model)
    figures: Figures = {}
    for name, outputs in (("float", exact), ("quantized", actual)):
        texts = [decode(scores, dictionary) for scores in outputs]
        figures[f"{name} line accuracy"] = line_accuracy(truth, texts)
        figures[f"{name} character accuracy"] = character_accuracy(truth, texts)
    return {**figures, "SQNR dB": _sqnr(exact, actual)}


def _sqnr(exact: Array, actual: Array) -> float:
    return sqnr_db(exact.astype(np.float64), actual.astype(np.float64))


TASKS: Mapping[str, Task] = {
    "efficientnet_lite0": Task(_photos("calibration"), _photos("evaluation"), _classes),
    "deit_tiny": Task(_photos("calibration"), _photos("evaluation"), _classes),  # seeded weights
    "minilm": Task(_sentences("calibration"), _sentences("evaluation"), _embeddings),
    "ppocr_rec": Task(_lines(CALIBRATION_LINES, 1), _lines(EVALUATION_LINES, 2), _texts),
}
