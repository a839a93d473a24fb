"""Whether latencies add up: over sub-graphs between articulation points, and layer by layer.

    python -m tests.zoo.additive [minilm deit_tiny ..] [--hw x86-vnni] [--rounds 40]
                                 [--mixes 0] [--seed 0] [--json]

A layer is one operation (a product with its bias, a whole softmax): compiled and measured alone, as
tables of latencies by layer are made. It reads and writes floats, and rounds what it reads. The
sub-graphs are those of ``hago tune``: what crosses a cut does so in codes, and within one kernels
fuse what follows a product. Strategies (all float32, all low, and mixes drawn at random) are
measured whole and in parts: in each round the whole and each part have a turn, by the CPU's time.
What counts is the median over rounds of sum over whole. "scaled" is how far it is off where sums
are multiplied by what float32 as a whole takes over its sum: so does ``hago tune`` predict.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from time import thread_time

import numpy as np
import tvm
from rich.console import Console
from rich.table import Table
from tvm import ir, relax

from hago.annotate.operators import is_anchor
from hago.clock import Clock
from hago.dataflow import Dataflow, Node, read_dataflow
from hago.graph import QuantModel
from hago.hardware.spec import HardwareSpec
from hago.kernel_search.turns import Rounds
from hago.lower.build import build
from hago.lower.lower import lower
from hago.model import input_specs
from hago.pipeline import prepared_module
from hago.progress import SILENT
from hago.realize import realize, realize_qdq
from hago.search.extract import digest, extract, qdq_part
from hago.search.goal import Goal
from hago.search.request import Request
from hago.search.space import Assignment
from hago.search.subject import Subject, build_subject
from hago.search.work import random_inputs
from tests.bench.inputs import draw_sample
from tests.zoo.models import MODELS, model_file

_VIEWS = frozenset({"reshape", "squeeze", "expand_dims", "flatten"})  # no table has them
_TURN, _LEAST_CALLS = 5e-4, 2  # seconds
Operations = tuple[str, ...]
Time = Callable[[Sequence[ir.IRModule], HardwareSpec], Rounds]


def layers(dataflow: Dataflow) -> list[Operations]:
    """Each operation alone, but for biases and the pieces of a softmax."""
    owners, found = _owners(dataflow), dict[str, list[str]]()
    for node in dataflow.nodes:
        if node.op not in _VIEWS:
            found.setdefault(owners.get(node.name, node.name), []).append(node.name)
    return list(map(tuple, found.values()))


def _owners(dataflow: Dataflow) -> dict[str, str]:
    """By what belongs to another operation's layer that operation's name.

    A bias belongs to its product, what hago.prepare.postpone_division makes of a softmax to its
    powers, but for the division, which it leaves to the product.
    """
    nodes, owners = dataflow.by_name(), dict[str, str]()
    for node in dataflow.nodes:
        first, second = map(nodes.get, (*node.inputs, "", "")[:2])
        match node.op, first, second:
            case "exp", Node(op="subtract", inputs=(_, largest)), None:
                owners |= {node.inputs[0]: node.name, largest: node.name}
            case "sum", Node(op="exp", name=powers), None:
                owners[node.name] = powers
            case "divide", None, Node(op="sum", name=total) if total in owners:
                owners[node.name] = owners[total]
            case "multiply", Node(name=product), Node(name=factor) if factor in owners:
                owners[node.name] = product
            case "add", Node(name=product), None if is_anchor(nodes[product]):
                owners[node.name] = product
    return owners


def alone(model: QuantModel, operations: Operations) -> ir.IRModule:
    """The realized module of a layer."""
    return realize_qdq(qdq_part(model, operations), model.graph.requantize)


@dataclass(frozen=True)
class Cut:
    """A way to cut a model, and what becomes of a part."""

    parts: Callable[[Subject], Sequence[Operations]]
    module: Callable[[QuantModel, Operations], ir.IRModule]


CUTS: Mapping[str, Cut] = {
    "sub-graphs": Cut(lambda subject: [each.operations for each in subject.segments], extract),
    "layers": Cut(lambda subject: layers(read_dataflow(subject.numbers.graph.module)), alone),
}


@dataclass(frozen=True)
class Sums:
    """The latency of one strategy in ms, and by the name of a cut the sum of the parts over it."""

    strategy: str
    whole_ms: float
    shares: Mapping[str, float]

    def error(self, cut: str, factor: float = 1.0) -> float:
        """How far the sum, times ``factor``, is off, as a share of the whole."""
        return abs(factor * self.shares[cut] - 1)


def measure(subject: Subject, strategy: str, assignment: Assignment, time: Time) -> Sums:
    """The whole and the parts of ``assignment``; parts that are equally fast are timed once."""
    model = subject.numbers.model(assignment)
    modules, counts = [realize(model)], {name: Counter[int]() for name in CUTS}
    for name, cut in CUTS.items():
        known: dict[str, int] = {}
        for operations in cut.parts(subject):
            key = digest(model, operations)
            if key not in known:
                known[key] = len(modules)
                modules.append(cut.module(model, operations))
            counts[name][known[key]] += 1
    seconds = time(modules, subject.spec).seconds
    whole = seconds[:, 0]
    shares = {
        name: float(np.median(sum(n * seconds[:, place] for place, n in each.items()) / whole))
        for name, each in counts.items()
    }
    return Sums(strategy, float(np.median(whole)) * 1e3, shares)


def timed(modules: Sequence[ir.IRModule], spec: HardwareSpec, rounds: int) -> Rounds:
    """The seconds of realized ``modules`` on one thread of this computer."""
    calls = []
    for module in modules:
        machine = relax.VirtualMachine(build(lower(module, spec), spec), tvm.cpu())
        inputs = [tvm.runtime.tensor(value) for value in random_inputs(module)]
        calls.append(partial(machine["main"], *inputs))
    return Rounds(np.array([[turn(call) for call in calls] for _ in range(rounds)]))


def turn(call: Callable[[], object], clock: Callable[[], float] = thread_time) -> float:
    """The mean of calls in a row. Not the fastest of them: the more parts, the more of the luck."""
    call()  # the others' data have left the caches by then
    count, start = 0, clock()
    while count < _LEAST_CALLS or clock() - start < _TURN:
        call()
        count += 1
    return (clock() - start) / count


def strategies(subject: Subject, mixes: int, seed: int) -> dict[str, Assignment]:
    """The levels of the space, and ``mixes`` drawn at random, by name."""
    random, space = np.random.default_rng(seed), subject.space
    counts = [len(group.options) for group in space.groups]
    levels = {f"level {number}": level for number, level in enumerate(space.levels())}
    drawn = {f"mix {i}": tuple(map(int, random.integers(counts))) for i in range(mixes)}
    return {"float32": levels.pop("level 0"), **levels, **drawn}


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
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--mixes", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found: dict[str, list[Sums]] = {}
    for name in given.models:
        subject = subject_of(name, given.hw)
        wanted = strategies(subject, given.mixes, given.seed)
        time = partial(timed, rounds=given.rounds)
        found[name] = [measure(subject, *each, time) for each in wanted.items()]
        if not given.json:
            Console().print(table_of(name, found[name]))
    if given.json:
        print(json.dumps({name: [asdict(each) for each in sums] for name, sums in found.items()}))
    return 0


def table_of(name: str, sums: Sequence[Sums]) -> Table:
    """Sums over wholes, how far they are off, and the means of that."""
    table = Table("strategy", "whole ms", title=f"{name}: sum of parts over whole")
    for cut in CUTS:
        for heading in (cut, "off", "scaled"):
            table.add_column(heading, justify="right")
    floats, *others = sums
    for each in sums:
        cells = [each.strategy, f"{each.whole_ms:.3f}"]
        for cut in CUTS:
            scaled = "-" if each is floats else f"{each.error(cut, 1 / floats.shares[cut]):.1%}"
            cells += [f"{each.shares[cut]:.3f}", f"{each.error(cut):.1%}", scaled]
        table.add_row(*cells)
    means = ["mean", ""]
    for cut in CUTS:
        scaled_off = [each.error(cut, 1 / floats.shares[cut]) for each in others]
        means += ["", f"{np.mean([s.error(cut) for s in sums]):.1%}", f"{np.mean(scaled_off):.1%}"]
    table.add_row(*means)
    return table


if __name__ == "__main__":
    sys.exit(main())
