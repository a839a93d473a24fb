"""Whether compiled kernels compute the integers that the reference interpreter computes.

    python -m tests.zoo.exactness efficientnet_lite0 --data FOLDER [--samples 1]

Every tensor of codes that a compiled model writes is compared with what numpy makes of the codes
that the same model wrote before it, so that one difference is counted once and not carried on.

What must hold: the accumulator is exact (of 8-bit floats, up to the order of its sums), and its way
to the next code is float32 arithmetic. Each
of its operations rounds with a relative error of 2^-24, in an order that the kernel may choose, so
a code may differ by one where the real quotient ``x / scale`` lies that close to the middle of
two codes, and nowhere else. See :func:`tie_bound`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from tvm import ir

from hago.calibrate import Dataset, load_data
from hago.clock import Clock
from hago.dataflow import Dataflow, Node, read_dataflow
from hago.float8 import FORMATS, KINDS, Float8
from hago.frontend.onnx import import_onnx
from hago.hardware.host import host_spec
from hago.hardware.load import load_spec
from hago.lower.callable import compile_callable
from hago.methods.facts import facts_of
from hago.methods.pick import pick_methods
from hago.model import input_specs
from hago.pipeline import DEFAULT_RECIPE
from hago.plan import Quantizer
from hago.prepare import prepare
from hago.realize.interpret import evaluate
from hago.sample import Sample
from hago.scheme import Array
from hago.simulate.observe import observe
from tests.zoo.models import MODELS, model_file
from tests.zoo.tasks import TASKS

_CODES = ("uint8", "int8", *KINDS)
Compiler = Callable[[ir.IRModule], Callable[[Mapping[str, Array]], Mapping[str, Array]]]


@dataclass(frozen=True)
class Difference:
    """One tensor of codes: how many differ, by how much, and how far from a tie at most.

    ``tie`` is the largest distance, in codes, between the real quotient of a code that differs and
    the middle of two codes; ``quotient`` is the largest real quotient of the tensor.
    """

    name: str
    total: int
    differing: int
    largest: int
    tie: float
    quotient: float


def compare_codes(
    module: ir.IRModule, inputs: Mapping[str, Array], compiled: Compiler | None = None
) -> list[Difference]:
    """Every tensor of codes that kernels write for ``inputs``, by parameter name.

    ``compiled`` makes them, for this CPU if it is not given.
    """
    dataflow = read_dataflow(module)
    names = [node.name for node in dataflow.nodes if _is_written(node)]
    run = (compiled or _for_this_cpu)(observe(module, names))
    codes = run(inputs)
    values: dict[str, Array] = dict(inputs)
    found = []
    for node in dataflow.nodes:
        values[node.name] = evaluate(node.value, values)
        if node.name in codes:
            found.append(_difference(dataflow, node, values, codes[node.name]))
            values[node.name] = codes[node.name]
    return found


def _for_this_cpu(module: ir.IRModule) -> Callable[[Mapping[str, Array]], dict[str, Array]]:
    return compile_callable(module, host_spec())


def tie_bound(difference: Difference, operations: int = 16) -> float:
    """How far from a tie a code may differ: ``operations`` roundings of 2^-24 of the largest
    quotient, of which half a code's worth is clipped."""
    return operations * 2.0**-24 * max(difference.quotient, 1.0)


def assert_exact(found: Sequence[Difference]) -> None:
    """That codes differ by one, next to ties, and seldom."""
    for difference in found:
        assert difference.largest <= 1, difference
        assert difference.tie <= tie_bound(difference), difference
    # A code lies within 2^-20 of a tie, relative to 255 codes, once in 4,000 times at most.
    assert sum(d.differing for d in found) <= sum(d.total for d in found) / 1000


def _is_written(node: Node) -> bool:
    return node.dtype in _CODES and node.op in ("quantize", "take")


def _difference(
    dataflow: Dataflow, node: Node, values: Mapping[str, Array], actual: Array
) -> Difference:
    expected = values[node.name]
    apart = np.abs(_numbered(expected) - _numbered(actual))
    differs = apart > 0
    quotient = _quotient(node, values)
    if node.dtype in KINDS:
        quotient = quotient / _unit(quotient, FORMATS[KINDS[node.dtype]])
    distance = np.abs(quotient - np.floor(quotient) - 0.5)[differs]
    return Difference(
        name=node.name,
        total=expected.size,
        differing=int(differs.sum()),
        largest=int(apart.max()),
        tie=float(distance.max()) if differs.any() else 0.0,
        quotient=float(np.abs(quotient).max()),
    )


def _numbered(codes: Array) -> Array:
    """``codes`` as integers in the order of what they stand for, one apart where neighbours are."""
    if str(codes.dtype) not in KINDS:
        return codes.astype(np.int64)
    size = codes.view(np.uint8).astype(np.int64)
    return np.where(size < 0x80, size, 0x80 - size)


def _unit(real: Array, form: Float8) -> Array:
    """What neighbours at ``real`` are apart."""
    _, exponent = np.frexp(np.clip(real, -form.largest, form.largest))
    return np.ldexp(1.0, np.maximum(exponent - 1, form.min_exponent) - form.mantissa)


def _quotient(node: Node, values: Mapping[str, Array]) -> Array:
    """``x / scale`` of a quantize; the codes of a table, which has nothing to round."""
    if node.op != "quantize":
        return values[node.name].astype(np.float64)
    scale = node.constants[1].astype(np.float64)
    return values[node.inputs[0]].astype(np.float64) / scale


def realized_model(name: str, hardware: str, data: Path) -> tuple[ir.IRModule, Dataset]:
    """The zoo model's integer module by the default recipe, and its evaluation data."""
    task, shapes = TASKS[name], dict(MODELS[name].inputs)
    module = prepare(import_onnx(model_file(name), shapes))
    specs = input_specs(module)
    calibration, evaluation = (
        load_data(_rows(material.inputs), specs)
        for material in (task.calibration(data), task.evaluation(data))
    )
    methods = pick_methods(DEFAULT_RECIPE, facts_of(module, weight_bits=8)).methods
    quantizer = Quantizer(module, load_spec(hardware), calibration, methods, Clock())
    return next(iter(quantizer.plans("int8"))).module, evaluation


def _rows(inputs: Mapping[str, Array]) -> list[Sample]:
    count = len(next(iter(inputs.values())))
    return [{name: rows[i : i + 1] for name, rows in inputs.items()} for i in range(count)]


def by_parameter(module: ir.IRModule, sample: Sample) -> dict[str, Array]:
    """``sample`` under the names of the parameters of ``module``."""
    main = module["main"]
    names = [str(name) for name in main.attrs["hago.input_names"]]
    parameters = [str(param.name) for param in main.params]
    return {parameter: sample[name] for parameter, name in zip(parameters, names, strict=True)}


def main() -> None:
    """Compare and show every tensor with a difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.exactness", description=__doc__)
    parser.add_argument("name", choices=list(TASKS))
    parser.add_argument("--hw", default="x86-vnni")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--samples", type=int, default=1)
    arguments = parser.parse_args()
    module, data = realized_model(arguments.name, arguments.hw, arguments.data)
    table = Table(title=f"{arguments.name} for {arguments.hw}: codes that differ from numpy's")
    for heading in ("tensor", "codes", "differ", "by", "from a tie", "bound"):
        table.add_column(heading, justify="left" if heading == "tensor" else "right")
    total = differing = 0
    for sample in islice(data, arguments.samples):
        for found in compare_codes(module, by_parameter(module, sample)):
            total, differing = total + found.total, differing + found.differing
            if found.differing:
                cells = (found.total, found.differing, found.largest)
                ties = (f"{found.tie:.1e}", f"{tie_bound(found):.1e}")
                table.add_row(found.name, *map(str, cells), *ties)
    Console().print(table)
    print(f"{differing} of {total} codes differ")


if __name__ == "__main__":
    main()
