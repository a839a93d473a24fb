"""Weights of 4 bits on a machine that computes in 8-bit floats: what DPQ wins back, and the bytes.

    python -m tests.zoo.dual_precision minilm --data FOLDER [--group 32] [--seed 0] [--json]

FOLDER holds ``sentences-calibration.txt`` and ``sentences-evaluation.txt``. All layers get weights
of 4 bits in groups; activations are e4m3. Each recipe's artifact is built, and its module is run on
the evaluation sentences and judged against float32. The share of bytes is that of the quantized
weights with their scales, as the library holds them, of the same weights in float32.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hago.annotate.narrow import MACHINE_FORMAT, WeightFormat
from hago.calibrate import load_data
from hago.clock import Clock
from hago.dataflow import read_dataflow
from hago.hardware.host import host_spec
from hago.hardware.load import load_spec
from hago.lower.lower import lower
from hago.lower.stored import constant_bytes
from hago.methods.facts import facts_of
from hago.methods.pick import pick_methods
from hago.model import input_specs, run_on
from hago.pipeline import prepared_module
from hago.plan import Plan, Quantizer
from tests.zoo.accuracy import _outputs as outputs
from tests.zoo.models import MODELS, model_file
from tests.zoo.tasks import TASKS, Figures

HARDWARE, BITS = "gaudi-fp8", 4
RECIPES: Mapping[str, str] = {
    "float8 weights": "mse",
    "nearest": "mse",
    "fitted on float weights": "mse,dpq(seed={seed},on_floats=True)",
    "dpq": "mse,dpq(seed={seed})",
}


def judge(name: str, data: Path, group: int, seed: int) -> dict[str, Figures]:
    """The figures of each recipe, with its share of bytes and the seconds it took."""
    task, file = TASKS[name], model_file(name)
    calibration, evaluation = task.calibration(data), task.evaluation(data)
    module, spec = prepared_module(file, MODELS[name].inputs), load_spec(HARDWARE)
    given = load_data(calibration.samples(), input_specs(module))
    exact = outputs(run_on(module, host_spec()), evaluation)
    found: dict[str, Figures] = {}
    for rung, text in RECIPES.items():
        print(f"{name}: {rung} ...", file=sys.stderr)
        start = time.perf_counter()
        is_wide = rung == "float8 weights"
        form = MACHINE_FORMAT if is_wide else WeightFormat(BITS, group, ends=True)
        picked = pick_methods(text.format(seed=seed), facts_of(module, form.bits))
        quantizer = Quantizer(module, spec, given, picked.methods, Clock(), form)
        plan = next(iter(quantizer.plans("int8")))
        seconds = time.perf_counter() - start
        actual = outputs(run_on(plan.module, spec), evaluation)
        figures = task.figures(exact, actual, evaluation.truth, file)
        found[rung] = {**figures, "share of bytes": share_of_bytes(plan), "seconds": seconds}
    return found


def share_of_bytes(plan: Plan) -> float:
    """Of the quantized weights: what the library holds for them, over their float32 size."""
    assert plan.model is not None
    module = plan.model.graph.module
    nodes = read_dataflow(module).by_name()
    edges = [edge for edge in plan.model.strategy if edge.is_constant]
    floats = sum(nodes[edge.dst].constants[edge.arg].nbytes for edge in edges)
    others = constant_bytes(module) - floats  # embeddings, biases: the same in both
    return (constant_bytes(lower(plan.module, load_spec(HARDWARE))) - others) / floats


def main() -> None:
    """Judge and show."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.dual_precision", description=__doc__)
    parser.add_argument("name", choices=list(TASKS), metavar="MODEL")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--group", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = judge(arguments.name, arguments.data, arguments.group, arguments.seed)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    measures = list(next(iter(found.values())))
    title = f"{arguments.name} on {HARDWARE}, weights of {BITS} bits in groups of {arguments.group}"
    table = Table(title=title)
    for heading in ("weights", *measures):
        table.add_column(heading, justify="left" if heading == "weights" else "right")
    for rung, figures in found.items():
        table.add_row(rung, *(f"{figures[measure]:.4f}" for measure in measures))
    Console().print(table)


if __name__ == "__main__":
    main()
