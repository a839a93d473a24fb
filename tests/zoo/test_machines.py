"""Every machine of hwspecs takes every network of the zoo to its integer (or fp8) form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from tvm import ir

from hago.accuracy import sqnr_db
from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.dataflow import read_dataflow
from hago.frontend.onnx import import_onnx
from hago.graph import QuantModel
from hago.hardware.load import list_specs, load_spec
from hago.methods.assign import assign_numbers
from hago.prepare import prepare
from hago.realize import interpret, realize
from hago.scheme import Array, QuantScheme
from hago.simulate import simulate
from tests.bench.inputs import draw_sample
from tests.graphs import all_values
from tests.zoo.cache import zoo_folder
from tests.zoo.models import MODELS

# The larger ones are made of the same blocks as ResNet-18 and MiniLM.
NAMES = [name for name in MODELS if name not in ("bert_base", "resnet50")]
# Errors of a few numbers are no statistics: networks with fewer results have more samples.
_FEWEST = 16


@dataclass(frozen=True, eq=False)
class Network:
    """A prepared network, samples, and every float value for the first by binding name."""

    module: ir.IRModule
    samples: Sequence[Mapping[str, Array]]
    values: Mapping[str, Array]

    def first(self, run: Callable[[Mapping[str, Array]], list[Array]]) -> Array:
        """The first result of every sample."""
        return np.concatenate([run(inputs)[0].reshape(-1) for inputs in self.samples])

    def quantized(self, machine: str) -> QuantModel:
        """The model in the machine's fewest bits, each range that of the first sample."""
        graph = annotate(self.module, load_spec(machine))

        def range_of(src: str, _: QuantScheme) -> tuple[float, float]:
            return float(self.values[src].min()), float(self.values[src].max())

        strategy = choose_strategy(graph, "int8")
        return assign_numbers(graph, strategy, range_of, constant_edges(graph))


@pytest.fixture(scope="module", params=NAMES)
def network(request: pytest.FixtureRequest) -> Network:
    path = zoo_folder() / f"{request.param}.onnx"
    if not path.exists():
        pytest.skip(f"no {path}: 'python -m tests.zoo {request.param}' makes it")
    shapes = dict(MODELS[request.param].inputs)
    module = prepare(import_onnx(path, shapes))
    main = module["main"]
    names = [str(name) for name in main.attrs["hago.input_names"]]

    def sample(seed: int) -> Mapping[str, Array]:
        drawn = draw_sample(shapes, seed)
        return {str(p.name): drawn[name] for p, name in zip(main.params, names, strict=True)}

    values = all_values(module, sample(0))
    results = values[read_dataflow(module).outputs[0]].size
    samples = [sample(seed) for seed in range(-(-_FEWEST // results))]
    return Network(module, samples, values)


@pytest.mark.parametrize("machine", list_specs())
def test_realized_is_what_simulated_promised(network: Network, machine: str) -> None:
    model = network.quantized(machine)
    simulation = simulate(model.graph)
    arguments, realized = simulation.arguments(model), realize(model)
    predicted = network.first(lambda inputs: interpret(simulation.module, {**inputs, **arguments}))
    actual = network.first(lambda inputs: interpret(realized, inputs))
    exact = network.first(lambda inputs: interpret(network.module, inputs))
    # A code that falls on the other side of a tie moves later ones: the two rounded networks are
    # as far from each other as two independent roundings of one network, at most.
    assert sqnr_db(predicted, actual) >= sqnr_db(exact, predicted) - 10 * np.log10(2)
