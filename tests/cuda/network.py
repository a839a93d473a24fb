"""A whole network on the GPU that is not there: its lowered module, call by call.

    python -m tests.cuda.network digits --hw cuda-sm80
    python -m tests.cuda.network efficientnet_lite0 --hw cuda-sm90 --precision float8

prints how far the network's outputs are from the reference interpreter's, and what it took.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import ir, relax
from tvm import tirx as tir

from hago.calibrate import load_data
from hago.clock import Clock
from hago.dataflow import constant_value, is_constant, tensor_type
from hago.demo import digits_model
from hago.hardware.load import load_spec
from hago.lower.build import kernel_source
from hago.lower.lower import lower
from hago.lower.select import machine_of
from hago.methods.method import find_methods
from hago.model import input_specs
from hago.pipeline import prepared_module
from hago.plan import Plan, Quantizer
from hago.realize import interpret
from hago.sample import Sample
from hago.scheme import Array
from tests.cuda.gpu import Program, geometry, program
from tests.zoo.exactness import Compiler, by_parameter
from tests.zoo.models import MODELS, model_file


class Network:
    """A lowered module whose kernels were compiled for the CPU."""

    def __init__(self, lowered: ir.IRModule, hardware: str, folder: Path) -> None:
        self.main = lowered["main"]
        self.functions = {
            str(var.name_hint): function
            for var, function in lowered.functions_items()
            if isinstance(function, tir.PrimFunc)
        }
        spec = load_spec(hardware)
        named = {n: f.with_attr("global_symbol", n) for n, f in self.functions.items()}
        text = kernel_source(tvm.IRModule(named), spec)
        self.program: Program = program(text, machine_of(spec).capability, folder)

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs for inputs by the names of parameters."""
        values: dict[str, Any] = {str(p.name): inputs[str(p.name)] for p in self.main.params}
        for block in self.main.body.blocks:
            for binding in block.bindings:
                values[str(binding.var.name)] = self._value(binding.value, values)
        result = self._value(self.main.body.body, values)
        return list(result) if isinstance(result, tuple) else [result]

    def _value(self, expr: Any, values: dict[str, Any]) -> Any:
        if isinstance(expr, relax.Var):
            return values[str(expr.name)]
        if is_constant(expr):
            return constant_value(expr)
        if isinstance(expr, relax.Tuple):
            return tuple(self._value(field, values) for field in expr.fields)
        if isinstance(expr, relax.TupleGetItem):
            return values[str(expr.tuple_value.name)][expr.index]
        assert isinstance(expr, relax.Call), expr
        if expr.op.name == "relax.reshape":
            return self._value(expr.args[0], values).reshape(tensor_type(expr)[0])
        assert expr.op.name == "relax.call_tir", expr.op
        arguments = [self._value(argument, values) for argument in expr.args[1].fields]
        return self._call(str(expr.args[0].name_hint), arguments, tensor_type(expr))

    def _call(
        self, name: str, arguments: list[np.ndarray], result: tuple[tuple[int, ...], str]
    ) -> np.ndarray:
        function, output = self.functions[name], np.zeros(*result)
        names = [str(param.name) for param in function.params]
        given = dict(zip(names, map(np.ascontiguousarray, arguments), strict=False))
        given[names[-1]] = output  # itself: it is written
        ordered = [given[parameter] for parameter in self.program.parameters[f"{name}_kernel"]]
        self.program.launch(f"{name}_kernel", ordered, geometry(function), seed=1)
        return output


def network_on(hardware: str, module: ir.IRModule, folder: Path) -> Network:
    """A realized ``module`` on the GPU ``hardware``, built in ``folder``."""
    return Network(lower(module, load_spec(hardware)), hardware, folder)


def codes_on(hardware: str, folder: Path) -> Compiler:
    """What makes kernels for :func:`compare_codes`."""

    def compiled(module: ir.IRModule) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
        network = network_on(hardware, module, folder)
        names = [str(name) for name in module["main"].attrs["hago.output_names"]]
        return lambda inputs: dict(zip(names, network.run(inputs), strict=True))

    return compiled


def quantized(
    module: ir.IRModule, hardware: str, samples: list[Sample], precision: str = "int8"
) -> Plan:
    """The network of ``module`` in a low precision."""
    data = load_data(samples, input_specs(module))
    quantizer = Quantizer(module, load_spec(hardware), data, find_methods(("mse",)), Clock())
    return next(iter(quantizer.plans(precision)))


def random_samples(module: ir.IRModule, count: int) -> list[Sample]:
    random = np.random.default_rng(0)
    return [
        {
            spec.name: random.normal(size=spec.shape).astype(spec.dtype)
            if spec.dtype == "float32"
            else random.integers(0, 2, spec.shape).astype(spec.dtype)
            for spec in input_specs(module)
        }
        for _ in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cuda.network", description=__doc__)
    parser.add_argument("name", choices=["digits", *MODELS])
    parser.add_argument("--hw", default="cuda-sm80")
    parser.add_argument("--precision", default="int8", choices=("int8", "float8"))
    arguments = parser.parse_args()
    is_demo = arguments.name == "digits"
    path = digits_model() if is_demo else model_file(arguments.name)
    module = prepared_module(path, {} if is_demo else dict(MODELS[arguments.name].inputs))
    samples = random_samples(module, 4)
    plan = quantized(module, arguments.hw, samples, arguments.precision)
    with tempfile.TemporaryDirectory() as scratch:
        network = network_on(arguments.hw, plan.module, Path(scratch))
        given = by_parameter(plan.module, samples[0])
        start = time.perf_counter()
        found = network.run(given)
        seconds = time.perf_counter() - start
    for actual, meant in zip(found, interpret(plan.module, given), strict=True):
        apart, largest = (float(np.abs(each).max()) for each in (actual - meant, meant))
        print(f"{arguments.name} on {arguments.hw}, {seconds:.1f} s: outputs differ by {apart:.3g} "
              f"of {largest:.3g}")  # fmt: skip


if __name__ == "__main__":
    main()
