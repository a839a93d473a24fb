"""How well boosted trees guess the latency of sub-graphs that they have not seen.

    python -m tests.zoo.cost_model [efficientnet_lite0 minilm ..] [--hw x86-vnni] [--mixes 12]
                                   [--seed 0] [--cache DIR] [--json]

The sub-graphs are those of ``hago tune``, in the configurations of float32, of all low precisions
and of mixes drawn at random. What is guessed is held out, a fifth at a time: for each model with
its own measurements, as a session does, and for all models together. Measurements are kept in DIR:
the same command again replays them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hago.search.cache import Cache
from hago.search.cost_model import Matrix, ModelError, held_out_error
from hago.search.latency import Bench, Latencies
from hago.search.runner import LocalRunner, Runner
from hago.search.subject import Subject
from hago.search.work import Setting
from tests.zoo.additive import strategies, subject_of

Measurements = tuple[Matrix, list[float]]


def measure(subject: Subject, mixes: int, seed: int, runner: Runner, cache: Cache) -> Measurements:
    """The features and latencies of the sub-graphs of the levels and of ``mixes``."""
    own = cache.scoped(subject.latency_key)
    bench = Bench(runner, Setting(subject.spec), own, own.scoped({"what": "failed"}))
    latencies = Latencies(subject.numbers, subject.segments, bench)
    latencies.measure(strategies(subject, mixes, seed).values())
    return latencies.measurements()


def errors_of(found: dict[str, Measurements]) -> dict[str, ModelError | None]:
    """By model, and for all of them together."""
    rows = np.concatenate([rows for rows, _ in found.values()])
    latencies = [value for _, values in found.values() for value in values]
    each = {name: held_out_error(*measurements) for name, measurements in found.items()}
    return {**each, "all together": held_out_error(rows, latencies)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.cost_model", description=__doc__)
    parser.add_argument("models", nargs="*", default=["efficientnet_lite0", "minilm", "ppocr_cls"])
    parser.add_argument("--hw", default="x86-vnni")
    parser.add_argument("--mixes", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found: dict[str, Measurements] = {}
    runner = LocalRunner()
    try:
        with tempfile.TemporaryDirectory(prefix="hago-zoo-") as scratch:
            cache = Cache(given.cache or Path(scratch))
            for name in given.models:
                subject = subject_of(name, given.hw)
                found[name] = measure(subject, given.mixes, given.seed, runner, cache)
                print(f"{name}: {len(found[name][1])} measured", file=sys.stderr, flush=True)
    finally:
        runner.close()
    errors = errors_of(found)
    if given.json:
        print(json.dumps({name: error and asdict(error) for name, error in errors.items()}))
    else:
        _print(errors)
    return 0


def _print(errors: dict[str, ModelError | None]) -> None:
    table = Table("model", title="latencies of sub-graphs, guessed without having seen them")
    for heading in ("measured", "off by (median)", "rank correlation"):
        table.add_column(heading, justify="right")
    for name, error in errors.items():
        cells: Sequence[str] = ("too few", "", "")
        if error is not None:
            figures = f"{error.relative:.0%}", f"{error.rank_correlation:.3f}"
            cells = (str(error.measurements), *figures)
        table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
