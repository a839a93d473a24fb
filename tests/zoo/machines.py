"""What each machine's arithmetic costs: the same networks on all of them, beside one that is there.

    python -m tests.zoo.machines --data FOLDER [--models minilm,digits] [--hw arm-neon,gaudi-fp8]
        [--seeds 0,1]

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

Each of ``--seeds`` calibrates with other four of five samples. Their figures come one by one and,
where there are several, over all of them: a picture's loss is then the mean over its views and all
seeds, so that the standard error is still that of pictures.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hago.annotate import annotate, choose_strategy
from hago.calibrate import load_data
from hago.clock import Clock
from hago.graph import QuantGraph
from hago.hardware.host import host_spec
from hago.hardware.load import list_specs, load_spec
from hago.lift import lifted_plan
from hago.methods.facts import facts_of
from hago.methods.pick import pick_methods
from hago.model import RunModel, input_specs, run_on
from hago.pipeline import DEFAULT_RECIPE
from hago.plan import Quantizer
from hago.sample import Sample
from hago.scheme import Array
from tests.zoo.cases import CASES, Case
from tests.zoo.tasks import drawn

REFERENCE = "x86-vnni"


@dataclass(frozen=True)
class Figures:
    """Of one ``seed``, of the "mean" of those given, or "" of all samples. ``score`` and ``plain``
    are means, ``loss`` and ``expected`` are in points, ``sqnr`` of the outputs is in dB."""

    model: str
    seed: str
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


@dataclass(frozen=True, eq=False)
class Measured:
    """``scores`` and ``likely`` ones, [samples], and the outputs' ``noise`` over signal power."""

    machine: str
    same_as: str
    scores: Array
    likely: Array
    noise: float
    seconds: float

    @staticmethod
    def mean(parts: Sequence[Measured]) -> Measured:
        """Several seeds of one machine as one; the seconds are those of all."""
        return replace(
            parts[0],
            scores=np.mean([part.scores for part in parts], axis=0),
            likely=np.mean([part.likely for part in parts], axis=0),
            noise=float(np.mean([part.noise for part in parts])),
            seconds=sum(part.seconds for part in parts),
        )


def compare(
    name: str,
    case: Case,
    machines: Sequence[str],
    recipe: str,
    seeds: Sequence[int | None] = (None,),
) -> list[Figures]:
    """The figures of ``machines`` against the first: of each seed, then the mean of several."""
    exact = _outputs(run_on(case.module, host_spec()), case.evaluation)
    found, rounds = list[Figures](), list[list[Measured]]()
    for seed in seeds:
        given = case if seed is None else replace(case, calibration=drawn(case.calibration, seed))
        rounds.append(measure(given, machines, recipe, exact))
        found += _figures(name, "" if seed is None else str(seed), rounds[-1], case.views)
    if len(rounds) > 1:
        means = [Measured.mean(parts) for parts in zip(*rounds, strict=True)]
        found += _figures(name, "mean", means, case.views)
    return found


def measure(case: Case, machines: Sequence[str], recipe: str, exact: Array) -> list[Measured]:
    """One result a machine; ``exact`` are float32's outputs, [samples, ...]."""
    found: dict[object, Measured] = {}
    results = []
    for machine in machines:
        key = arithmetic(annotate(case.module, load_spec(machine)))
        if key in found:
            results.append(replace(found[key], machine=machine, same_as=found[key].machine))
            continue
        print(f"{machine} ...", file=sys.stderr, flush=True)
        found[key] = _measured(case, machine, recipe, exact)
        results.append(found[key])
    return results


def _measured(case: Case, machine: str, recipe: str, exact: Array) -> Measured:
    start = time.perf_counter()
    actual = _outputs(_quantized(case, machine, recipe), case.evaluation)
    signal = np.square(exact, dtype=np.float64).sum()
    return Measured(
        machine,
        "",
        case.scores(exact, actual).astype(np.float64),
        (case.likely or case.scores)(exact, actual).astype(np.float64),
        float(np.square(exact.astype(np.float64) - actual).sum() / signal),
        time.perf_counter() - start,
    )


def _figures(name: str, seed: str, results: Sequence[Measured], views: int) -> list[Figures]:
    found = [
        Figures(
            name, seed, it.machine, it.same_as, float(it.scores.mean()),
            float(it.scores[::views].mean()), *_loss(results[0].scores - it.scores, views),
            *_loss(results[0].likely - it.likely, views), -10 * math.log10(it.noise), it.seconds,
        )
        for it in results
    ]  # fmt: skip
    for figures in found:
        print(json.dumps(asdict(figures)), file=sys.stderr, flush=True)
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


def show(figures: Sequence[Figures], against: str) -> None:
    """One row a model and machine."""
    table = Table(title=f"what machines lose against {against}")
    for heading in ("model", "seed", "machine", "same as"):
        table.add_column(heading)
    for heading in ("score", "plain", "loss, points", "expected", "SQNR dB", "seconds"):
        table.add_column(heading, justify="right")
    last: tuple[str, ...] = ()
    for f in figures:
        title = f.model, f.seed
        if last and title != last:
            table.add_section()
        table.add_row(
            *(("", "") if title == last else title), f.machine, f.same_as, f"{f.score:.4f}",
            f"{f.plain:.4f}", f"{f.loss:.2f} +- {f.error:.2f}",
            f"{f.expected:.2f} +- {f.expected_error:.2f}", f"{f.sqnr:.2f}", f"{f.seconds:.0f}",
        )  # fmt: skip
        last = title
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
    parser.add_argument("--seeds", help="0,1,...: which calibration samples; default: all of them")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    seeds = [None] if given.seeds is None else [int(seed) for seed in given.seeds.split(",")]
    machines = list(dict.fromkeys((given.against, *given.hw.split(","))))
    found: list[Figures] = []
    for name in given.models.split(","):
        case = CASES[name](given.data, given.views)
        found += compare(name, case, machines, given.recipe, seeds)
    if given.json:
        print(json.dumps([asdict(figures) for figures in found], indent=1))
    else:
        show(found, given.against)


if __name__ == "__main__":
    main()
