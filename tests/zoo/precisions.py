"""Whether ``--precision auto`` is as fast as the best precision alone, or faster by mixing.

    python -m tests.zoo.precisions [resnet18 minilm ..] [--hw x86-avx2] [--precisions int8,float32]
                                   [--rounds 15] [--data FOLDER] [--keep FOLDER] [--json]

Each model is compiled as a user would, once in each precision and once with "auto". Then all
artifacts take turns on one thread, by the CPU's time; what counts is the median over rounds of auto
over the fastest of the others. Models are calibrated with FOLDER, see tests/zoo/accuracy.py, or
where there is nothing for them with random inputs. What is in the folder to keep artifacts in is
not compiled again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hago.deploy.bench import clock_for, random_sample
from hago.deploy.load import load
from hago.deploy.manifest import read_manifest
from hago.kernel_search.turns import Rounds, take_turns
from hago.pipeline import Options, compile_model
from hago.sample import Sample
from hago.search.cache import default_cache
from tests.bench.__main__ import MODELS as JUDGED
from tests.bench.inputs import draw_sample
from tests.zoo.models import MODELS, model_file
from tests.zoo.tasks import TASKS

AUTO = "auto"
_DRAWN = 8  # random samples, where there are no real ones


@dataclass(frozen=True)
class Comparison:
    """The latencies of one model in ms by precision; ``taken`` is what auto took, ``ratio`` its
    time over that of ``best``, the fastest other one, between its ``quartiles``."""

    latency_ms: Mapping[str, float]
    taken: str
    best: str
    ratio: float
    quartiles: tuple[float, float]


def compare(rounds: Rounds, precisions: Sequence[str], taken: str) -> Comparison:
    """What ``rounds`` of auto, the first, and of ``precisions`` say."""
    medians = np.median(rounds.seconds, axis=0)
    best = 1 + int(np.argmin(medians[1:]))
    ratios = rounds.seconds[:, 0] / rounds.seconds[:, best]
    low, middle, high = (float(q) for q in np.percentile(ratios, (25, 50, 75)))
    latencies = dict(zip((AUTO, *precisions), (medians * 1e3).tolist(), strict=True))
    return Comparison(latencies, taken, precisions[best - 1], middle, (low, high))


def judge(
    name: str, hardware: str, precisions: Sequence[str], rounds: int, data: Path | None, keep: Path
) -> Comparison:
    """Compiles the zoo model ``name``, unless it is in ``keep``, and measures it."""
    folders = [keep / f"{name}-{precision}" for precision in (AUTO, *precisions)]
    samples: list[Sample] = []
    for folder, precision in zip(folders, (AUTO, *precisions), strict=True):
        if folder.exists():
            continue
        samples = samples or _samples(name, data)
        options = Options(
            precision, shapes=MODELS[name].inputs, kernel_cache=default_cache("kernels")
        )
        compile_model(model_file(name), hardware, samples, folder, options)
    models = [load(folder, threads=1) for folder in folders]
    sample = random_sample(models[0].inputs)
    calls = [partial(model.run, sample) for model in models]
    taken = read_manifest(folders[0]).precision
    return compare(take_turns(calls, rounds, clock_for(1)), precisions, taken)


def _samples(name: str, data: Path | None) -> list[Sample]:
    if data is not None and name in TASKS:
        return TASKS[name].calibration(data).samples()
    return [draw_sample(MODELS[name].inputs, seed) for seed in range(_DRAWN)]


def show(found: Mapping[str, Comparison], precisions: Sequence[str], hardware: str) -> None:
    """One row a model."""
    table = Table(title=f"auto on {hardware}, one thread", caption="ms")
    for heading in ("model", *precisions, AUTO, "it is", "over best", "quartiles"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for name, each in found.items():
        latencies = [f"{each.latency_ms[key]:.3f}" for key in (*precisions, AUTO)]
        low, high = each.quartiles
        table.add_row(
            name, *latencies, each.taken, f"{each.ratio:.3f}", f"{low:.3f} - {high:.3f}"
        )
    Console().print(table)


def main() -> None:
    """Judge the models that were named, or the seven that latencies are judged by."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.precisions", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(JUDGED), metavar="MODEL")
    parser.add_argument("--hw", default="x86-avx2")
    parser.add_argument("--precisions", default="int8,float32", metavar="NAME,..")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    precisions, found = given.precisions.split(","), dict[str, Comparison]()
    with tempfile.TemporaryDirectory(prefix="hago-precisions-") as scratch:
        for name in given.names:
            print(f"{name} for {given.hw} ...", file=sys.stderr)
            keep = given.keep or Path(scratch)
            found[name] = judge(name, given.hw, precisions, given.rounds, given.data, keep)
            print(asdict(found[name]), file=sys.stderr)
    if given.json:
        print(json.dumps({name: asdict(each) for name, each in found.items()}, indent=1))
    else:
        show(found, precisions, given.hw)


if __name__ == "__main__":
    main()
