"""What each machine's arithmetic costs: the same networks on all of them, beside one that is there.

    python -m tests.zoo.machines --data FOLDER [--models minilm,digits] [--hw arm-neon,gaudi-fp8]

FOLDER is that of ``tests.zoo.accuracy``; the digits bring their own. A network is quantized for a
machine as ``hago compile`` does by default, in the lowest precision, and the module that comes out
(integers, 8-bit floats, some of it in bfloat16) runs on the kernels of this CPU, which compute the
same. Machines that differ in nothing but instructions give the same module: it is measured once.

A sample's score is whether its class is float32's (photographs), whether it is right (digits), or
the cosine to float32's embedding (sentences). There are few photographs, so ``--views`` views of
each count (itself, and crops), and a loss, in points against ``--against``, comes with its standard
error: that of the mean over photographs of the difference. ``plain`` is the score without crops.

Which of the photographs near a border fall on its other side is a draw. ``expected`` is the loss
that the errors of all margins make likely, see ``tests.zoo.metrics.expected_agreement``, with its
standard error; of digits and sentences it is the loss.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from tvm import ir

from hago.accuracy import sqnr_db
from hago.annotate import annotate, choose_strategy
from hago.calibrate import load_data
from hago.clock import Clock
from hago.demo import digits_calibration, digits_model, digits_test
from hago.graph import QuantGraph
from hago.hardware.host import host_spec
from hago.hardware.load import list_specs, load_spec
from hago.lift import lifted_plan
from hago.methods.facts import facts_of
from hago.methods.pick import pick_methods
from hago.model import RunModel, input_specs, run_on
from hago.pipeline import DEFAULT_RECIPE, prepared_module
from hago.plan import Quantizer
from hago.sample import Sample
from hago.scheme import Array
from tests.zoo.crops import with_crops
from tests.zoo.metrics import cosines, expected_agreement
from tests.zoo.models import MODELS, model_file
from tests.zoo.photos import load_photos
from tests.zoo.tasks import TASKS

REFERENCE = "x86-vnni"
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


@dataclass(frozen=True)
class Figures:
    """``score`` and ``plain`` are means, ``loss`` and ``expected`` are in points, ``sqnr`` of the
    outputs is in dB."""

    model: str
    machine: str
    same_as: str
    score: float
    plain: float
    loss: float
    error: float
    expected: float
    expected_error: float
    sqnr: float
    seconds: float


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
    return Case(
        module, task.calibration(data).samples(), task.evaluation(data).samples(), cosines
    )


CASES: Mapping[str, Callable[[Path, int], Case]] = {
    "digits": digits_case,
    "efficientnet_lite0": photos_case,
    "minilm": sentences_case,
}


def compare(
    name: str, case: Case, machines: Sequence[str], recipe: str, against: str
) -> list[Figures]:
    """The figures of ``machines`` and, first, of ``against``."""
    exact = _outputs(run_on(case.module, host_spec()), case.evaluation)
    known: dict[object, tuple[str, Array]] = {}
    found, reference, hoped = [], np.empty(0), np.empty(0)
    likely = case.likely or case.scores
    for machine in dict.fromkeys((against, *machines)):
        start = time.perf_counter()
        key = arithmetic(annotate(case.module, load_spec(machine)))
        if key not in known:
            known[key] = machine, _outputs(_quantized(case, machine, recipe), case.evaluation)
        first, actual = known[key]
        scores = case.scores(exact, actual).astype(np.float64)
        chances = likely(exact, actual).astype(np.float64)
        reference = scores if machine == against else reference
        hoped = chances if machine == against else hoped
        found.append(
            Figures(name, machine, "" if first == machine else first, float(scores.mean()),
                    float(scores[:: case.views].mean()), *_loss(reference - scores, case.views),
                    *_loss(hoped - chances, case.views), _sqnr(exact, actual),
                    time.perf_counter() - start)
        )  # fmt: skip
        print(json.dumps(asdict(found[-1])), file=sys.stderr)
    return found


def arithmetic(graph: QuantGraph) -> object:
    """Machines that share this make the same module of a network."""
    strategy = choose_strategy(graph, "int8")
    schemes = frozenset((str(edge), repr(scheme)) for edge, scheme in strategy.items())
    tied = frozenset(frozenset(map(str, edges)) for edges in graph.tied)
    return schemes, tied, graph.requantize


def _quantized(case: Case, machine: str, recipe: str) -> RunModel:
    data, spec = load_data(list(case.calibration), input_specs(case.module)), load_spec(machine)
    methods = pick_methods(recipe, facts_of(case.module, 8, spec)).methods
    quantizer = Quantizer(case.module, spec, data, methods, Clock())
    plan = next(iter(quantizer.plans("int8")))
    plan = lifted_plan(plan, data, Clock()) or plan
    return run_on(plan.module, host_spec())


def _outputs(run: RunModel, samples: Sequence[Sample]) -> Array:
    """The first output for every sample, [n, ...]."""
    return np.concatenate([next(iter(run(sample).values())) for sample in samples])


def _loss(differences: Array, views: int) -> tuple[float, float]:
    """Mean and standard error, in points, of [n] differences of scores."""
    pictures = 100 * differences.reshape(-1, views).mean(axis=1)
    return float(pictures.mean()), float(pictures.std(ddof=1) / np.sqrt(len(pictures)))


def _sqnr(exact: Array, actual: Array) -> float:
    return sqnr_db(exact.astype(np.float64), actual.astype(np.float64))


def show(figures: Sequence[Figures], against: str) -> None:
    """One row a model and machine."""
    table = Table(title=f"what machines lose against {against}")
    for heading in ("model", "machine", "same as"):
        table.add_column(heading)
    for heading in ("score", "plain", "loss, points", "expected", "SQNR dB", "seconds"):
        table.add_column(heading, justify="right")
    last = ""
    for f in figures:
        if last and f.model != last:
            table.add_section()
        table.add_row(
            "" if f.model == last else f.model, f.machine, f.same_as, f"{f.score:.4f}",
            f"{f.plain:.4f}", f"{f.loss:.2f} +- {f.error:.2f}",
            f"{f.expected:.2f} +- {f.expected_error:.2f}", f"{f.sqnr:.2f}", f"{f.seconds:.0f}",
        )  # fmt: skip
        last = f.model
    Console().print(table)


def main() -> None:
    """Compare the machines that were named."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.machines", description=__doc__)
    parser.add_argument("--models", default=",".join(CASES))
    parser.add_argument("--hw", default=",".join(list_specs()))
    parser.add_argument("--against", default=REFERENCE)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--recipe", default=",".join(DEFAULT_RECIPE))
    parser.add_argument("--views", type=int, default=8, help="of each evaluation photograph")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found: list[Figures] = []
    for name in given.models.split(","):
        case = CASES[name](given.data, given.views)
        found += compare(name, case, given.hw.split(","), given.recipe, given.against)
    if given.json:
        print(json.dumps([asdict(figures) for figures in found], indent=1))
    else:
        show(found, given.against)


if __name__ == "__main__":
    main()
