"""The ladder of recovery: what each method wins back of what narrow weights cost.

    python -m tests.zoo.ladder efficientnet_lite0 --bits 4 --seeds 0,1 --data FOLDER [--json]

FOLDER holds ``photos/calibration`` and ``photos/evaluation``. Calibration has ``--samples``
pictures: the photographs, then random crops and flips of them, drawn by the seed. The model is
quantized with each recipe as a user would have it, and the integer module that comes out is run:
nothing here is simulated. Methods that learn see all of the pictures. It is judged against
float32 on the evaluation photographs and on ``--views`` views of each (one: the photograph, the
others: crops). Each rung is a process of its own, so its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from tvm import ir

from hago.accuracy import sqnr_db
from hago.annotate.narrow import WeightFormat, end_layers
from hago.calibrate import load_data
from hago.cli.progress import drawn_progress
from hago.clock import Clock
from hago.dataflow import read_dataflow
from hago.hardware.host import host_spec
from hago.hardware.load import load_spec
from hago.methods.blocks import is_layer
from hago.methods.facts import facts_of
from hago.methods.method import Method
from hago.methods.options import options_of
from hago.methods.pick import pick_methods
from hago.model import RunModel, input_specs, run_on
from hago.pipeline import prepared_module
from hago.plan import Plan, Quantizer
from hago.scheme import Array
from tests.zoo.crops import with_crops
from tests.zoo.metrics import top1_agreement
from tests.zoo.models import MODELS, model_file
from tests.zoo.photos import load_photos

RUNGS: Mapping[str, str] = {
    "nearest": "min_max",
    "clipped": "mse,weight_mse",
    "multipoint": "multipoint,mse,weight_mse",
    "light": "mse,weight_mse,batch_norm_tuning",
    "obc": "mse,weight_output,obc",
    "ada_quant": "mse,weight_output,ada_quant",
    "ada_round": "mse,weight_output,ada_round",
    "brecq": "mse,weight_output,brecq(layer_steps=500)",
    "gptaq": "mse,gptaq",
    "best": "best",
}


@dataclass(frozen=True)
class Job:
    """One rung for one seed."""

    model: str
    hardware: str
    rung: str
    seed: int
    bits: int
    data: Path
    samples: int
    views: int
    options: Mapping[str, object]


@dataclass(frozen=True)
class Figures:
    """Agreement with float32 as a share, SQNR of the logits in dB, of the evaluation photographs
    and of all their views; what quantizing took."""

    rung: str
    seed: int
    recipe: str
    agreement: float
    sqnr: float
    view_agreement: float
    view_sqnr: float
    seconds: float
    peak_gb: float
    weight_bits: float  # stored, for each weight of the float model


def climb(job: Job) -> Figures:
    """Quantizes for one rung and judges the integer module by running it."""
    spec, module = load_spec(job.hardware), prepared_module(
        model_file(job.model), MODELS[job.model].inputs
    )
    photos = load_photos(job.data / "photos" / "calibration")
    pictures = with_crops(photos, job.samples, job.seed)
    data = load_data([{"input": each[None]} for each in pictures], input_specs(module))
    picked = pick_methods(RUNGS[job.rung], facts_of(module, job.bits))
    options = {"seed": job.seed, **job.options}
    methods = tuple(told(each, options, len(pictures)) for each in picked.methods)
    start = time.perf_counter()
    with drawn_progress() as progress:
        quantizer = Quantizer(
            module, spec, data, methods, Clock(progress), WeightFormat(job.bits), picked.report
        )
        (plan,) = quantizer.plans("int8")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    few = load_photos(job.data / "photos" / "evaluation")
    views = with_crops(few, len(few) * job.views, seed=0)
    exact = _outputs(run_on(module, host_spec()), views)
    actual = _outputs(run_on(plan.module, host_spec()), views)
    photographs = slice(0, None, job.views)
    names = ",".join(method.name for method in methods)
    return Figures(
        job.rung, job.seed, names,
        *_judged(exact[photographs], actual[photographs]), *_judged(exact, actual), seconds, peak,
        bits_of(plan) / layer_weights(module),
    )  # fmt: skip


def bits_of(plan: Plan) -> int:
    """Bits of the codes of all quantized weights."""
    assert plan.model is not None
    nodes = read_dataflow(plan.model.graph.module).by_name()
    return sum(
        scheme.dtype.bits * nodes[edge.dst].constants[edge.arg].size
        for edge, scheme in plan.model.strategy.items()
        if edge.is_constant
    )


def layer_weights(module: ir.IRModule) -> int:
    """How many weights the layers of a prepared ``module`` have."""
    layers = filter(is_layer, read_dataflow(module).nodes)
    return sum(layer.constants[1].size for layer in layers)


def told(method: Method, options: Mapping[str, object], pictures: int) -> Method:
    """``method`` with those of ``options`` that it has; if it learns block by block, from all
    ``pictures``.

    By itself it would take the first few hundred, which are the crops of the first photographs.
    """
    known = {option.name for option in options_of(method)}
    mine = {name: value for name, value in options.items() if name in known}
    if {"samples", "cache"} <= known:
        mine["samples"] = pictures
    return replace(method, **mine)  # type: ignore[type-var]


def _judged(exact: Array, actual: Array) -> tuple[float, float]:
    wide = exact.astype(np.float64), actual.astype(np.float64)
    return top1_agreement(exact, actual), float(sqnr_db(*wide))


def _outputs(run: RunModel, pictures: Array) -> Array:
    return np.concatenate([next(iter(run({"input": each[None]}).values())) for each in pictures])


def recovered(figures: Sequence[Figures], rung: str) -> float:
    """What ``rung`` wins back of the agreement that "nearest" loses, in the mean over seeds."""
    by_rung = {
        name: float(np.mean([f.view_agreement for f in figures if f.rung == name]))
        for name in (rung, "nearest")
    }
    return (by_rung[rung] - by_rung["nearest"]) / (1 - by_rung["nearest"])


def show(figures: Sequence[Figures], title: str) -> None:
    """One row a rung and seed."""
    table = Table(title=title)
    table.add_column("recipe")
    numbers = ("seed", "top-1 photos", "dB", "top-1 views", "dB", "seconds", "peak GB", "bits")
    for heading in numbers:
        table.add_column(heading, justify="right")
    for f in figures:
        table.add_row(
            f.rung, str(f.seed), f"{f.agreement:.1%}", f"{f.sqnr:.2f}", f"{f.view_agreement:.1%}",
            f"{f.view_sqnr:.2f}", f"{f.seconds:.0f}", f"{f.peak_gb:.2f}",
            f"{f.weight_bits:.2f}",
        )  # fmt: skip
    console = Console()
    console.print(table)
    rungs = dict.fromkeys(f.rung for f in figures)
    if "nearest" in rungs:
        for rung in rungs:
            share = recovered(figures, rung)
            console.print(f"  {rung} recovers {share:.1%} of the agreement that nearest loses")


def main() -> None:
    """Climb the rungs that were named."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.ladder", description=__doc__)
    parser.add_argument("model", choices=["efficientnet_lite0", "mobilenetv2", "resnet18"])
    parser.add_argument("--hw", default="x86-vnni")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--seeds", default="0,1", help="0,1,...")
    parser.add_argument("--samples", type=int, default=416, help="pictures to calibrate with")
    parser.add_argument("--views", type=int, default=4, help="of each evaluation photograph")
    parser.add_argument("--rungs", default=",".join(RUNGS))
    parser.add_argument("--steps", type=int, help="of methods that learn; default: their own")
    parser.add_argument("--cache", default="", metavar="FOLDER", help="of finished layers")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    options: dict[str, object] = {"cache": given.cache}
    if given.steps is not None:
        options["steps"] = given.steps
    found = []
    for rung in given.rungs.split(","):
        for seed in map(int, given.seeds.split(",")):
            print(f"{rung}, seed {seed} ...", file=sys.stderr)
            job = Job(given.model, given.hw, rung, seed, given.bits, given.data, given.samples,
                      given.views, options)  # fmt: skip
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                found.append(pool.submit(climb, job).result())
            print(json.dumps(asdict(found[-1])), file=sys.stderr)
    module = prepared_module(model_file(given.model), MODELS[given.model].inputs)
    ends = sorted(end_layers(read_dataflow(module)))
    if given.json:
        figures = [asdict(each) for each in found]
        told = {"bits": given.bits, "ends_at_8_bits": ends, "figures": figures}
        print(json.dumps(told, indent=1))
    else:
        show(found, f"{given.model}, weights of {given.bits} bits (8 in {', '.join(ends)})")


if __name__ == "__main__":
    main()
