"""A network of the zoo on an Arm that QEMU plays: equal to the reference, and what it costs.

    python -m tests.arm.network efficientnet_lite0 --hw arm-dotprod --data FOLDER
    python -m tests.arm.network resnet18 --hw arm-i8mm
    python -m tests.arm.network minilm --hw arm-neon --data FOLDER --recipe balanced --samples 16 \
        --like-here --no-count

The int8 network's outputs are compared with those of the reference interpreter (``--like-here``: of
the kernels for this CPU, which is faster for many samples), and executed instructions are counted,
its own and those of hago's float32 for the same machine. Without --data ranges come from random
images: that changes codes, not instructions.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tvm import ir

from hago.annotate import annotate
from hago.calibrate import load_data
from hago.clock import Clock
from hago.deploy.build import build_artifact, machine_for
from hago.deploy.manifest import Manifest
from hago.frontend.onnx import import_onnx
from hago.hardware.host import host_spec
from hago.hardware.load import load_spec
from hago.hardware.spec import HardwareSpec
from hago.lower.lower import lower
from hago.methods.facts import facts_of
from hago.methods.pick import pick_methods
from hago.model import RunModel, input_specs, output_specs, run_on
from hago.plan import Plan, Quantizer, float_plan
from hago.prepare import prepare
from hago.realize import interpret
from hago.sample import Sample
from tests.arm.runtime import Runner, runner
from tests.zoo.exactness import by_parameter
from tests.zoo.models import MODELS, model_file
from tests.zoo.tasks import TASKS

_RECIPE = "mse"
_SAMPLES = 8


@dataclass(frozen=True, eq=False)
class Network:
    """A prepared float module for a machine, with inputs to quantize it by."""

    module: ir.IRModule
    spec: HardwareSpec
    samples: list[Sample]
    recipe: str = _RECIPE

    def plans(self) -> tuple[Plan, Plan]:
        """int8, float32."""
        data = load_data(self.samples, input_specs(self.module))
        methods = pick_methods(self.recipe, facts_of(self.module, 8)).methods
        quantizer = Quantizer(self.module, self.spec, data, methods, Clock())
        low = next(iter(quantizer.plans("int8")))
        return low, float_plan(annotate(self.module, self.spec))

    def build(self, module: ir.IRModule, folder: Path) -> Path:
        """The artifact ``folder`` of a form of the network: its integers, or itself."""
        specs = (input_specs(self.module), output_specs(self.module))
        manifest = Manifest("network", "int8", *specs, machine_for(self.spec))
        return build_artifact(lower(module, self.spec), self.spec, manifest, folder)


def largest_difference(
    arm: Runner, artifact: Path, module: ir.IRModule, samples: list[Sample]
) -> tuple[float, float]:
    """Between what ``artifact`` gives and what ``module`` means, and the largest output."""
    return _largest_difference(arm, artifact, _meaning(module), samples)


def _largest_difference(
    arm: Runner, artifact: Path, meaning: RunModel, samples: list[Sample]
) -> tuple[float, float]:
    apart = largest = 0.0
    for sample in samples:
        actual, expected = arm.run(artifact, sample), meaning(sample)
        for found, meant in zip(actual.values(), expected.values(), strict=True):
            apart = max(apart, float(np.abs(found - meant).max()))
            largest = max(largest, float(np.abs(meant).max()))
    return apart, largest


def _meaning(module: ir.IRModule) -> RunModel:
    """``module`` by the reference interpreter."""
    names = [str(name) for name in module["main"].attrs["hago.output_names"]]
    return lambda sample: dict(
        zip(names, interpret(module, by_parameter(module, sample)), strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.arm.network", description=__doc__)
    parser.add_argument("name", choices=list(MODELS))
    parser.add_argument("--hw", default="arm-dotprod")
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    parser.add_argument("--samples", type=int, default=1, help="that are run and compared")
    parser.add_argument("--recipe", default=_RECIPE)
    parser.add_argument("--like-here", action="store_true", help="compare with this CPU's kernels")
    parser.add_argument("--count", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    module = prepare(import_onnx(model_file(arguments.name), dict(MODELS[arguments.name].inputs)))
    calibration, inputs = _samples(arguments.name, arguments.data)
    network = Network(module, load_spec(arguments.hw), calibration, arguments.recipe)
    arm, (low, plain) = runner(), network.plans()
    with tempfile.TemporaryDirectory() as scratch:
        built = network.build(low.module, Path(scratch) / "int8")
        meaning = run_on(low.module, host_spec()) if arguments.like_here else _meaning(low.module)
        compared = inputs[: arguments.samples]
        apart, largest = _largest_difference(arm, built, meaning, compared)
        print(f"{arguments.name} on {arguments.hw}: outputs of {len(compared)} samples differ by "
              f"{apart:.3g} of {largest:.3g}")  # fmt: skip
        if arguments.count:
            folders = built, network.build(plain.module, Path(scratch) / "float32")
            codes, floats = (arm.count(folder, inputs[0]) for folder in folders)
            print(f"instructions: int8 {codes / 1e6:.1f} M, float32 {floats / 1e6:.1f} M, "
                  f"ratio {codes / floats:.3f}")  # fmt: skip


def _samples(name: str, data: Path | None) -> tuple[list[Sample], list[Sample]]:
    """Inputs to calibrate with, inputs to run."""
    if data is None:
        random, shapes = np.random.default_rng(0), MODELS[name].inputs
        found = [
            {key: random.normal(size=shape).astype("f4") for key, shape in shapes.items()}
            for _ in range(_SAMPLES)
        ]
        return found, found
    task = TASKS[name]
    return task.calibration(data).samples(), task.evaluation(data).samples()


if __name__ == "__main__":
    main()
