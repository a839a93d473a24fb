"""What quantization costs on data that was not used for calibration.

    python -m tests.zoo.accuracy efficientnet_lite0 --hw x86-vnni --data FOLDER [--json]

FOLDER holds ``photos/calibration`` and ``photos/evaluation`` for image models,
``sentences-calibration.txt`` and ``sentences-evaluation.txt`` for text encoders; the lines of the
text recogniser are rendered. The model is compiled as a user would, with hago's default recipe,
and its outputs are compared with those of float32. Where the machine's instructions are missing
here, its quantized model runs on the kernels of this CPU: the integers are the same. Weights have
8 bits, or ``--weight-bits 4 --weight-group 32``. With ``--seeds 0,1`` each model is quantized once
a seed, which draws four of five calibration samples: how much a figure owes to them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from hago.annotate.narrow import WeightFormat
from hago.calibrate import load_data
from hago.clock import Clock
from hago.deploy.load import load
from hago.frontend.onnx import import_onnx
from hago.hardware.host import host_spec, missing_features
from hago.hardware.load import load_spec
from hago.methods.facts import facts_of
from hago.methods.pick import pick_methods
from hago.model import RunModel, input_specs, run_on
from hago.pipeline import DEFAULT_RECIPE, Options, compile_model
from hago.plan import Quantizer
from hago.prepare import prepare
from hago.scheme import Array
from tests.zoo.models import MODELS, model_file
from tests.zoo.tasks import TASKS, Figures, Material


def judge(
    name: str, hardware: str, data: Path, options: Options, seed: int | None = None
) -> Figures:
    """The figures of the zoo model ``name`` by measure, with the "seconds" of its compilation.

    A ``seed`` draws the samples that it is calibrated with; None takes all of them.
    Raises MissingPackage, FileNotFoundError and HagoError for what is missing or does not fit.
    """
    task, file = TASKS[name], model_file(name)
    calibration, evaluation = task.calibration(data), task.evaluation(data)
    if seed is not None:
        calibration = calibration.drawn(seed)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="hago-zoo-") as scratch:
        run = _quantized(file, hardware, calibration, options, Path(scratch))
        seconds = time.perf_counter() - start
        actual = _outputs(run, evaluation)
    module = prepare(import_onnx(file, dict(options.shapes)))
    exact = _outputs(run_on(module, host_spec()), evaluation)
    return {**task.figures(exact, actual, evaluation.truth, file), "seconds": seconds}


def _quantized(
    file: Path, hardware: str, calibration: Material, options: Options, scratch: Path
) -> RunModel:
    """The compiled artifact, or where it cannot run the quantized module on this CPU."""
    spec = load_spec(hardware)
    samples = calibration.samples()
    if not missing_features(spec):
        compile_model(file, hardware, samples, scratch / "artifact", options)
        return load(scratch / "artifact", threads=options.threads).run
    module = prepare(import_onnx(file, dict(options.shapes)))
    data = load_data(samples, input_specs(module))
    picked = pick_methods(options.recipe, facts_of(module, options.weights.bits, spec))
    quantizer = Quantizer(module, spec, data, picked.methods, Clock(), options.weights)
    plan = next(iter(quantizer.plans(options.precision)))  # of "auto": the lowest precision
    return run_on(plan.module, host_spec())


def _outputs(run: RunModel, material: Material) -> Array:
    """The first output for every sample, [n, ...]."""
    return np.concatenate([next(iter(run(sample).values())) for sample in material.samples()])


def show(figures: Mapping[str, Figures], hardware: str) -> None:
    """One row a model and measure."""
    table = Table(title=f"quantized for {hardware}, against float32")
    for heading, side in (("model", "left"), ("measure", "left"), ("value", "right")):
        table.add_column(heading, justify=side)
    for name, measures in figures.items():
        for number, (measure, value) in enumerate(measures.items()):
            table.add_row("" if number else name, measure, f"{value:.4f}")
        table.add_section()
    Console().print(table)


def main() -> None:
    """Judge the models that were named."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.accuracy", description=__doc__)
    parser.add_argument("names", nargs="+", choices=list(TASKS), metavar="MODEL")
    parser.add_argument("--hw", default="x86-vnni")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--recipe", default=",".join(DEFAULT_RECIPE))
    parser.add_argument("--weight-bits", type=int, default=8)
    parser.add_argument("--weight-group", type=int, help="weights of a matrix to one scale")
    parser.add_argument("--seeds", help="0,1,...: which calibration samples; default: all")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    weights = WeightFormat(arguments.weight_bits, arguments.weight_group)
    seeds = [None] if arguments.seeds is None else [int(s) for s in arguments.seeds.split(",")]
    found = {}
    for name in arguments.names:
        print(f"{name} for {arguments.hw} ...", file=sys.stderr)
        options = Options(
            arguments.precision, arguments.recipe, MODELS[name].inputs, weights=weights
        )
        for seed in seeds:
            title = name if seed is None else f"{name}, seed {seed}"
            found[title] = judge(name, arguments.hw, arguments.data, options, seed)
    if arguments.json:
        print(json.dumps({"hardware": arguments.hw, "figures": found}, indent=1))
    else:
        show(found, arguments.hw)


if __name__ == "__main__":
    main()
