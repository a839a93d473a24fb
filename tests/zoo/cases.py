"""The networks that machines are compared with: samples, and what each counts for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tvm import ir

from hago.demo import digits_calibration, digits_model, digits_test
from hago.pipeline import prepared_module
from hago.sample import Sample
from hago.scheme import Array
from tests.zoo.crops import with_crops
from tests.zoo.metrics import cosines, expected_agreement
from tests.zoo.models import MODELS, model_file
from tests.zoo.photos import load_photos
from tests.zoo.tasks import TASKS

Scores = Callable[[Array, Array], Array]  # of float32's outputs and others: one a sample


@dataclass(frozen=True, eq=False)
class Case:
    """A network with data; ``views`` neighbours of the samples are one picture."""

    module: ir.IRModule
    calibration: Sequence[Sample]
    evaluation: Sequence[Sample]
    scores: Scores
    views: int = 1
    likely: Scores | None = None  # what ``scores`` are expected to be, where that is known


def digits_case(data: Path, views: int) -> Case:
    """The demo network: accuracy by labels."""
    images, labels = digits_test()
    samples = [{"image": image[None]} for image in images]
    module = prepared_module(digits_model(), {})
    return Case(module, digits_calibration(), samples, lambda _, y: y.argmax(axis=-1) == labels)


def photos_case(data: Path, views: int) -> Case:
    """EfficientNet-Lite0: agreement with float32 over views of photographs."""
    name = "efficientnet_lite0"
    photos = load_photos(data / "photos" / "evaluation")
    samples = [{"input": each[None]} for each in with_crops(photos, len(photos) * views, seed=0)]
    module = prepared_module(model_file(name), MODELS[name].inputs)
    calibration = TASKS[name].calibration(data).samples()
    return Case(
        module, calibration, samples, lambda x, y: x.argmax(axis=-1) == y.argmax(axis=-1), views,
        expected_agreement,
    )  # fmt: skip


def sentences_case(data: Path, views: int) -> Case:
    """MiniLM: cosine to float32's embeddings."""
    name = "minilm"
    module = prepared_module(model_file(name), MODELS[name].inputs)
    task = TASKS[name]
    return Case(module, task.calibration(data).samples(), task.evaluation(data).samples(), cosines)


CASES: Mapping[str, Callable[[Path, int], Case]] = {
    "digits": digits_case,
    "efficientnet_lite0": photos_case,
    "minilm": sentences_case,
}
