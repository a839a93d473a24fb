"""What may be built of a model: one plan a precision, from annotate to realize."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tvm import ir

from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.calibrate import Dataset, Stats, calibrate
from hago.clock import Clock
from hago.dump import dump
from hago.edges import edge_reports, qdq_edge_reports
from hago.errors import DataError, StrategyError
from hago.graph import QuantGraph, Strategy
from hago.hardware.host import host_spec
from hago.hardware.spec import HardwareSpec
from hago.methods.assign import assign_numbers
from hago.methods.method import Method
from hago.model import came_quantized, run_on
from hago.progress import SILENT, Progress
from hago.realize import insert_qdq, realize, realize_imported
from hago.report import EdgeReport
from hago.simulate.observe import observe

PRECISIONS = ("auto", "int8", "bfloat16", "float32")
LOW = ("int8", "bfloat16")  # the fewest bits first


@dataclass(frozen=True, eq=False)
class Plan:
    """``module`` is what lower takes: realized, or the prepared float module itself.

    ``exchange`` makes its QDQ form, which other runtimes understand.
    """

    precision: str
    module: ir.IRModule
    edges: tuple[EdgeReport, ...]
    exchange: Callable[[], ir.IRModule]


@dataclass(frozen=True, eq=False)
class Quantizer:
    """Everything that quantizing a prepared module needs; ``samples`` may be None where no
    strategy has a range to find."""

    module: ir.IRModule
    spec: HardwareSpec
    samples: Dataset | None
    methods: Sequence[Method]
    clock: Clock

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
        strategies = self._strategies(graph, precision)
        stats = self._statistics(graph, strategies)
        for name, strategy in strategies.items():
            yield self._quantized(graph, name, strategy, stats)

    def _strategies(self, graph: QuantGraph, precision: str) -> dict[str, Strategy]:
        if precision != "auto":
            return {precision: choose_strategy(graph, precision)}
        found: dict[str, Strategy] = {}
        for name in LOW:
            with suppress(StrategyError):
                found[name] = choose_strategy(graph, name)
        return found or {LOW[0]: choose_strategy(graph, LOW[0])}

    def _statistics(self, graph: QuantGraph, strategies: dict[str, Strategy]) -> Stats:
        """Empty where no strategy has a range to find."""
        if not any(map(_is_quantized, strategies.values())):
            return Stats({}, 0)
        if self.samples is None:
            raise DataError(
                "no calibration data",
                fact="the ranges of activations come from it",
                way_out="Give it with --data, or use --precision float32.",
            )
        with self.clock.stage("calibrate"):
            return observe_ranges(graph, self.samples, self.clock.progress)

    def _quantized(
        self, graph: QuantGraph, precision: str, strategy: Strategy, stats: Stats
    ) -> Plan:
        with self.clock.stage(f"choose numbers ({precision})"):
            model = assign_numbers(
                graph,
                strategy,
                lambda src, _: (stats[src].low, stats[src].high),
                constant_edges(graph),
            )
            for method in self.methods if _is_quantized(strategy) else ():
                model = method.apply(model, stats)
        with self.clock.stage(f"realize ({precision})"):
            realized = realize(model)
        return Plan(
            precision,
            dump(realized, f"realized-{precision}"),
            edge_reports(graph, model),
            lambda: insert_qdq(model),
        )

    def _given(self) -> Plan:
        """The integer form of a model that came with quantize and dequantize."""
        realized = realize_imported(self.module, self.spec)
        return Plan(
            "int8",
            dump(realized, "realized-int8"),
            qdq_edge_reports(self.module),
            lambda: self.module,
        )


def observe_ranges(
    graph: QuantGraph, samples: Dataset, progress: Progress = SILENT
) -> Stats:
    """Statistics of every activation with a choice: one pass of float32 over the data, here."""
    names = list(
        dict.fromkeys(
            edge.src
            for edge, schemes in graph.choices.items()
            if any(scheme.is_quantized for scheme in schemes) and not edge.is_constant
        )
    )
    return calibrate(run_on(observe(graph.module, names), host_spec()), samples, names, progress)


def _is_quantized(strategy: Strategy) -> bool:
    return any(scheme.is_quantized for scheme in strategy.values())


def float_plan(graph: QuantGraph) -> Plan:
    """The model as it is."""
    return Plan("float32", graph.module, edge_reports(graph), lambda: graph.module)
