"""Whether latencies add up: over sub-graphs between articulation points, and layer by layer.

    python -m tests.zoo.additive [minilm deit_tiny ..] [--hw x86-vnni] [--strategies 6] [--json]

Each strategy (all float32, all low, and mixes drawn at random) is measured whole, and as the sum
of its parts, cut both ways; the error is the part of the whole by which the sum is off.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hago.clock import Clock
from hago.model import input_specs
from hago.pipeline import prepared_module
from hago.progress import SILENT
from hago.realize import realize
from hago.search.cache import Cache
from hago.search.goal import Goal
from hago.search.latency import Bench, Latencies
from hago.search.request import Request
from hago.search.runner import LocalRunner, Runner
from hago.search.segments import Segment, cut, cut_everywhere
from hago.search.space import Assignment
from hago.search.subject import Subject, build_subject
from hago.search.work import time_segment
from tests.bench.inputs import draw_sample
from tests.zoo.models import MODELS, model_file


@dataclass(frozen=True)
class Sums:
    """Latencies of one strategy in ms: ``whole``, and the sums over its parts."""

    whole: float
    subgraphs: float
    layers: float

    @property
    def errors(self) -> tuple[float, float]:
        """How far both sums are off, as shares of the whole."""
        return abs(self.subgraphs / self.whole - 1), abs(self.layers / self.whole - 1)


def strategies(subject: Subject, count: int, seed: int = 0) -> list[Assignment]:
    """The levels of the space, and mixes drawn at random, ``count`` in all."""
    random, space = np.random.default_rng(seed), subject.space
    counts = [len(group.options) for group in space.groups]
    mixes = [tuple(map(int, random.integers(counts))) for _ in range(count)]
    return [*space.levels(), *mixes][:count]


def compare(subject: Subject, runner: Runner, wanted: Sequence[Assignment]) -> list[Sums]:
    """The latencies of ``wanted``, measured one after the other on the same machine."""
    graph, space = subject.numbers.graph, subject.space
    cuts = cut(graph, space), cut_everywhere(graph, space)
    found = []
    for assignment in wanted:
        module = realize(subject.numbers.model(assignment))
        whole = runner.submit(time_segment, module, subject.spec, 1).result()
        sums = (_sum(subject, runner, segments, assignment) for segments in cuts)
        found.append(Sums(whole, *sums))
    return found


def _sum(
    subject: Subject, runner: Runner, segments: tuple[Segment, ...], assignment: Assignment
) -> float:
    with tempfile.TemporaryDirectory(prefix="hago-zoo-") as scratch:
        cache = Cache(Path(scratch))
        bench = Bench(runner, cache, cache.scoped({"what": "failed"}))
        latencies = Latencies(subject.numbers, segments, bench)
        latencies.measure([assignment])
        assert not latencies.failures, latencies.failures
        return sum(table.of(assignment) for table in latencies.tables)


def subject_of(name: str, hardware: str) -> Subject:
    """The zoo model ``name`` on random inputs: latencies do not depend on them."""
    model, shapes = model_file(name), MODELS[name].inputs
    specs = input_specs(prepared_module(model, shapes))
    samples = [draw_sample({spec.name: spec.shape for spec in specs}, seed) for seed in range(2)]
    goal = Goal("latency", max_drop=1.0)
    request = Request(
        model, hardware, samples, goal, shapes=shapes, metric="sqnr", samples=1, recipe=("mse",)
    )
    return build_subject(request, Clock(SILENT), lambda identity: None)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.additive", description=__doc__)
    parser.add_argument("models", nargs="*", default=["minilm", "deit_tiny"])
    parser.add_argument("--hw", default="x86-vnni")
    parser.add_argument("--strategies", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    runner, found = LocalRunner(), {}
    try:
        for name in given.models:
            subject = subject_of(name, given.hw)
            found[name] = compare(subject, runner, strategies(subject, given.strategies))
    finally:
        runner.close()
    if given.json:
        print(json.dumps({name: [asdict(each) for each in sums] for name, sums in found.items()}))
    else:
        for name, sums in found.items():
            _print(name, sums)
    return 0


def _print(name: str, sums: Sequence[Sums]) -> None:
    table = Table("whole, ms", "sub-graphs", "off by", "layers", "off by", title=name)
    for each in sums:
        near, far = each.errors
        table.add_row(
            f"{each.whole:.3f}",
            *(f"{each.subgraphs:.3f}", f"{near:.1%}", f"{each.layers:.3f}", f"{far:.1%}"),
        )
    means = np.mean([each.errors for each in sums], axis=0)
    table.add_row("mean", "", f"{means[0]:.1%}", "", f"{means[1]:.1%}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
