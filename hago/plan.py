"""What may be built of a model: one plan a precision, from annotate to realize."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

from tvm import ir

from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.annotate.impossible import check_weights
from hago.annotate.narrow import MACHINE_FORMAT, WeightFormat, narrow_reasons, narrow_weights
from hago.annotate.narrow_activations import (
    MACHINE_ACTIVATIONS,
    ActivationFormat,
    activation_reasons,
    narrow_activations,
)
from hago.annotate.neighbours import with_small_neighbours
from hago.calibrate import Dataset, Stats, calibrate
from hago.calibrate.channels import PILOT, Channels, observe_channels
from hago.calibrate.moments import Moments, windows_of
from hago.calibrate.padding import Look
from hago.calibrate.run import Reader
from hago.clock import Clock
from hago.dataflow import read_dataflow
from hago.dump import dump
from hago.edges import edge_reports, imported_edge_reports
from hago.errors import DataError, StrategyError
from hago.graph import QuantGraph, QuantModel, Strategy
from hago.hardware.host import runnable
from hago.hardware.spec import HardwareSpec
from hago.methods.assign import assign_numbers
from hago.methods.facts import multiplied_bits
from hago.methods.method import Method, Reshaping, Widening, corrects, needs_of, positions_of
from hago.model import came_quantized, run_on
from hago.progress import SILENT, Progress
from hago.realize import insert_qdq, realize, realize_imported
from hago.report import EdgeReport, RecipeReport
from hago.simulate.observe import observe

PRECISIONS = ("auto", "int8", "float8", "bfloat16", "float32")
LOW = ("int8", "bfloat16")  # the fewest bits first


@dataclass(frozen=True, eq=False)
class Plan:
    """``module`` is what lower takes: realized, or the prepared float module itself.

    ``exchange`` makes its QDQ form, which other runtimes understand. ``recipe`` says which
    methods chose the numbers, where there were any to choose. ``model`` has the numbers of what
    hago quantized, and ``correct`` corrects it after changes of some layers' precisions.
    """

    precision: str
    module: ir.IRModule
    edges: tuple[EdgeReport, ...]
    exchange: Callable[[], ir.IRModule]
    recipe: RecipeReport | None = None
    model: QuantModel | None = None
    correct: Callable[[QuantModel], QuantModel] = lambda model: model


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Everything that quantizing a prepared module needs; ``samples`` may be None where no
    strategy has a range to find. ``weights`` and ``activations`` narrow the machine's integers,
    ``recipe`` tells where ``methods`` come from."""

    module: ir.IRModule
    spec: HardwareSpec
    samples: Dataset | None
    methods: Sequence[Method]
    clock: Clock
    weights: WeightFormat = MACHINE_FORMAT
    recipe: RecipeReport | None = None
    activations: ActivationFormat = MACHINE_ACTIVATIONS

    def plans(self, precision: str) -> Iterator[Plan]:
        """The plan of ``precision``; all that the machine has for "auto", the lowest first.

        Raises StrategyError where nothing of the model can be had in a low precision that was
        asked for (for "auto": in any), DataError where data is missing.
        """
        if came_quantized(self.module):
            yield self._given()
            return
        graph = annotate(self.module, self.spec)
        if precision == "float32":
            yield float_plan(graph)
            return
        for name in _precisions(graph, precision):
            yield self._plan(graph, name)

    def quantize(self, graph: QuantGraph, precision: str) -> Quantized:
        """The numbers of ``precision``. Raises as :meth:`plans` does."""
        stats, watched = Stats({}, 0), None
        strategy: Strategy = choose_strategy(graph, precision)
        if _has_ranges(strategy):
            self._narrowed(graph, precision)  # raises before the long work
            watched, stats = self._calibrated(graph)
            graph, strategy = self._narrowed(watched.graph, precision)
        with self.clock.stage(f"choose numbers ({precision})"):
            model = assign_numbers(
                graph,
                strategy,
                lambda src, _: (stats[src].low, stats[src].high),
                constant_edges(graph),
            )
            for method in self.methods if _has_ranges(strategy) else ():
                model = method.apply(model, stats)
        return Quantized(model, stats, watched)

    def _narrowed(self, graph: QuantGraph, precision: str) -> tuple[QuantGraph, Strategy]:
        """The strategy in the formats that were asked for, and the graph with their reasons."""
        strategy = narrow_weights(graph, choose_strategy(graph, precision), self.weights)
        strategy = narrow_activations(graph, strategy, self.activations)
        check_weights(graph, strategy, self.weights)
        reasons = {
            **narrow_reasons(graph, strategy, self.weights),
            **activation_reasons(graph, strategy, self.activations),
        }
        return replace(graph, reasons={**graph.reasons, **reasons}), strategy

    def _plan(self, graph: QuantGraph, precision: str) -> Plan:
        quantized = self.quantize(graph, precision)
        strategy = quantized.model.strategy
        recipe = self.recipe if _has_ranges(strategy) else None
        plan = realized_plan(_told(strategy, precision), quantized.model, recipe, self.clock)
        return replace(plan, correct=partial(_corrected, self.methods, quantized.stats))

    def _calibrated(self, graph: QuantGraph) -> tuple[Watched, Stats]:
        """The graph as reshaping methods leave it, with what was seen of its tensors."""
        if self.samples is None:
            raise DataError(
                "no calibration data",
                fact="the ranges of activations come from it",
                way_out="Give it with --data, or use --precision float32.",
            )
        with self.clock.stage("look at channels"):
            watched = watch(graph, self.spec)
            watched = reshape(watched, self.spec, self.samples, self.methods, self.weights)
        with self.clock.stage("calibrate"):
            stats = watched.statistics(self.samples, self.clock.progress, self.methods)
        return watched, stats

    def _given(self) -> Plan:
        """The integer form of a model that came with quantize and dequantize."""
        realized = realize_imported(self.module, self.spec)
        return Plan(
            "int8",
            dump(realized, "realized-int8"),
            imported_edge_reports(self.module, self.spec),
            lambda: self.module,
        )


@dataclass(frozen=True, eq=False)
class Watched:
    """``graph`` with ``look``, which sees the tensors ``names`` of its float module.

    These are the activations that have a choice of codes.
    """

    graph: QuantGraph
    names: tuple[str, ...]
    look: Look

    def statistics(
        self, samples: Dataset, progress: Progress = SILENT, methods: Sequence[Method] = ()
    ) -> Stats:
        """What one pass over ``samples`` shows of what ``methods`` need."""
        readers = _readers(self.graph, self.names) if "moments" in needs_of(methods) else {}
        wanted = positions_of(methods, self.graph)
        positions = [name for name in self.names if name in wanted]
        return calibrate(self.look, samples, self.names, progress, readers, positions)

    def moments(self, samples: Dataset) -> Moments:
        """What a few of ``samples`` show of what each product reads."""
        few = tuple(islice(samples, PILOT))
        return calibrate(self.look, few, (), readers=_readers(self.graph, self.names)).moments

    def channels(self, samples: Dataset) -> Channels:
        """What a few of ``samples`` show of the channels of each tensor."""
        return observe_channels(self.look, samples, self.names)


@dataclass(frozen=True, eq=False)
class Quantized:
    """A ``model`` with its numbers, and what they were found with; ``watched`` is None where no
    data was needed."""

    model: QuantModel
    stats: Stats
    watched: Watched | None


def watch(graph: QuantGraph, spec: HardwareSpec) -> Watched:
    """The float module compiled for ``spec``, or for this computer where that does not run here,
    its quantizable activations as results.

    Its channels stand in the order that suits the machine's weights, see
    :mod:`hago.annotate.neighbours`. Its own results come with them, where these can show what is
    padding.
    """
    graph = with_small_neighbours(graph, spec)
    sources = (
        edge.src
        for edge, schemes in graph.choices.items()
        if any(scheme.is_quantized for scheme in schemes) and not edge.is_constant
    )
    names = tuple(dict.fromkeys(sources))
    results = _float_results(graph)
    observed = observe(graph.module, tuple(dict.fromkeys((*names, *results))))
    return Watched(graph, names, Look(run_on(observed, runnable(spec)), results))


def _float_results(graph: QuantGraph) -> tuple[str, ...]:
    """The results of the module, where none is an integer."""
    dataflow = read_dataflow(graph.module)
    nodes = dataflow.by_name()
    computed = all(name in nodes for name in dataflow.outputs)
    if not computed or any(nodes[name].dtype != "float32" for name in dataflow.outputs):
        return ()
    return dataflow.outputs


def reshape(
    watched: Watched,
    spec: HardwareSpec,
    samples: Dataset,
    methods: Sequence[Method],
    weights: WeightFormat = MACHINE_FORMAT,
) -> Watched:
    """``watched`` after those of ``methods`` that change its module, which see a few samples;
    ``weights`` is the format to come, in as many bits as the machine multiplies at most."""
    weights = replace(weights, bits=min(weights.bits, multiplied_bits(spec)))
    changing = [method for method in methods if isinstance(method, Reshaping | Widening)]
    channels: Channels = {}
    for number, method in enumerate(changing):
        graph = watched.graph
        if isinstance(method, Widening):
            module = method.widen(graph, watched.moments(samples), weights)
        else:
            names = method.tensors(graph)
            if not channels.keys() >= set(names):
                wanted = (name for each in changing[number:] if isinstance(each, Reshaping)
                          for name in each.tensors(graph))  # fmt: skip
                channels = observe_channels(watched.look, samples, tuple(dict.fromkeys(wanted)))
            module = method.reshape(graph, channels, weights) if names else graph.module
        if module is not graph.module:
            watched, channels = watch(annotate(module, spec), spec), {}
    return watched


def _readers(graph: QuantGraph, names: Sequence[str]) -> dict[str, Reader]:
    """The products with constant weights that read one of ``names``."""
    weighted = {edge.dst for edge in constant_edges(graph)}
    nodes = [node for node in read_dataflow(graph.module).nodes if node.name in weighted]
    return {
        node.name: Reader(node.inputs[0], windows)
        for node in nodes
        if node.inputs[0] in names and (windows := windows_of(node)) is not None
    }


def _precisions(graph: QuantGraph, precision: str) -> tuple[str, ...]:
    """``precision``; for "auto" all low ones that the machine has for this model."""
    if precision != "auto":
        return (precision,)
    found = []
    for name in LOW:
        with suppress(StrategyError):
            choose_strategy(graph, name)
            found.append(name)
    return tuple(found) or LOW[:1]


def _told(strategy: Strategy, precision: str) -> str:
    """What reports call ``precision``: "int8" stands for any 8-bit codes when it is asked for."""
    kinds = {scheme.dtype.kind for edge, scheme in strategy.items() if not edge.is_constant}
    is_float8 = any(kind.startswith("float8") for kind in kinds) and not kinds & {"int", "uint"}
    return "float8" if is_float8 else precision


def _corrected(methods: Sequence[Method], stats: Stats, model: QuantModel) -> QuantModel:
    for method in filter(corrects, methods):
        model = method.apply(model, stats)
    return model


def _has_ranges(strategy: Strategy) -> bool:
    """Whether any edge of ``strategy`` holds codes, whose numbers come from data."""
    return any(scheme.is_quantized for scheme in strategy.values())


def realized_plan(
    precision: str, model: QuantModel, recipe: RecipeReport | None, clock: Clock
) -> Plan:
    """The plan of ``model``, whose numbers are found."""
    with clock.stage(f"realize ({precision})"):
        realized = realize(model)
    return Plan(
        precision,
        dump(realized, f"realized-{precision}"),
        edge_reports(model.graph, model),
        lambda: insert_qdq(model),
        recipe,
        model,
    )


def float_plan(graph: QuantGraph) -> Plan:
    """The model as it is."""
    return Plan("float32", graph.module, edge_reports(graph), lambda: graph.module)
