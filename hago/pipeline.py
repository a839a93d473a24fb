"""The whole flow, from a model file to an artifact, in functions that read from top to bottom."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tvm import ir

from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.calibrate import Dataset, Stats, calibrate, load_data
from hago.deploy.artifact import LIBRARY, check_output, write_artifact
from hago.deploy.build import build_artifact, versions
from hago.deploy.manifest import Machine, Manifest, read_manifest
from hago.edges import edge_reports, find_edge, qdq_edge_reports
from hago.errors import DataError, SpecError, StrategyError
from hago.frontend.onnx import import_onnx
from hago.graph import QuantGraph, QuantModel
from hago.hardware.host import host_spec
from hago.hardware.load import load_spec, spec_digest
from hago.hardware.spec import HardwareSpec
from hago.lower.lower import lower
from hago.measure import Trial, measure
from hago.methods.assign import assign_numbers
from hago.methods.method import Method, find_methods
from hago.model import came_quantized, input_specs, output_specs, run_on
from hago.prepare import prepare
from hago.progress import SILENT, Progress
from hago.realize import realize, realize_qdq
from hago.realize.unsign import unsign_activations
from hago.report import CompileReport, EdgeReport, InspectReport
from hago.sample import Sample
from hago.simulate.observe import observe

PRECISIONS = ("auto", "int8", "bfloat16", "float32")
DEFAULT_RECIPE = ("mse",)


@dataclass(frozen=True)
class Options:
    """What a compilation was asked for, beside model, machine and data.

    ``recipe`` names methods of ``hago.methods``, applied in order; ``shapes`` fixes dynamic
    dimensions by input name. Raises StrategyError for a precision that does not exist.
    """

    precision: str = "auto"
    recipe: tuple[str, ...] = DEFAULT_RECIPE
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    threads: int = 1

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            known = f"hago knows {', '.join(PRECISIONS)}"
            raise StrategyError(f"no precision '{self.precision}'", fact=known)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is to be built: ``baseline`` is the float32 module where it is worth comparing with."""

    realized: ir.IRModule
    edges: tuple[EdgeReport, ...]
    baseline: ir.IRModule | None = None


def compile_model(
    model: Path,
    hardware: str,
    data: str | Path | Iterable[Sample] | None,
    output: Path,
    options: Options | None = None,
    progress: Progress = SILENT,
) -> CompileReport:
    """Quantizes ``model`` for ``hardware`` and writes the artifact folder ``output``.

    ``data`` is what :func:`hago.calibrate.load_data` takes; it may be None for a model that is
    quantized already and for precision "float32". Raises a HagoError for anything wrong with the
    model, the machine, the data, or the folder.
    """
    options = options or Options()
    clock = _Clock(progress)
    check_output(output)
    spec = _buildable(load_spec(hardware))
    methods = find_methods(options.recipe)
    with clock.stage("import model"):
        module = prepare(import_onnx(model, dict(options.shapes)))
    samples = None if data is None else load_data(data, input_specs(module))
    if came_quantized(module):
        plan = _Plan(_realize_quantized(module, spec), qdq_edge_reports(module))
    elif options.precision == "float32":
        plan = _Plan(module, edge_reports(annotate(module, spec)))
    else:
        quantized = _quantize(module, spec, samples, options.precision, methods, clock)
        with clock.stage("realize"):
            realized = realize(quantized)
        plan = _Plan(realized, edge_reports(quantized.graph, quantized), module)
    manifest = Manifest(
        model=model.name,
        precision=options.precision,
        inputs=input_specs(module),
        outputs=output_specs(module),
        machine=Machine(spec.name, spec_digest(spec), spec.features),
        edges=plan.edges,
        versions=versions(),
    )
    return _build(plan, spec, manifest, samples, output, options.threads, clock)


def inspect_model(
    model: Path, hardware: str, shapes: Mapping[str, Sequence[int]] | None = None
) -> InspectReport:
    """Every edge of ``model`` on ``hardware``: what it may be, what it would be, and why."""
    spec = load_spec(hardware)
    module = prepare(import_onnx(model, dict(shapes or {})))
    if came_quantized(module):
        return InspectReport(model.name, spec.name, qdq_edge_reports(module))
    reports = edge_reports(annotate(module, spec))
    preferred = (replace(r, chosen=r.choices[0]) if r.choices else r for r in reports)
    return InspectReport(model.name, spec.name, tuple(preferred))


def explain_edge(folder: Path, edge: str) -> EdgeReport:
    """Why ``edge`` of the artifact ``folder`` has its precision, and its numbers."""
    return find_edge(read_manifest(folder).edges, edge)


def observe_ranges(
    graph: QuantGraph, samples: Dataset, progress: Progress = SILENT
) -> Stats:
    """Statistics of every activation with a choice: one pass of float32 over the data, here."""
    names = list(
        dict.fromkeys(
            edge.src for edge, schemes in graph.choices.items() if schemes and not edge.is_constant
        )
    )
    return calibrate(run_on(observe(graph.module, names), host_spec()), samples, names, progress)


def _quantize(
    module: ir.IRModule,
    spec: HardwareSpec,
    samples: Dataset | None,
    precision: str,
    methods: Sequence[Method],
    clock: _Clock,
) -> QuantModel:
    """Strategy and numbers: annotate, calibrate, then the methods of the recipe in order."""
    if samples is None:
        raise DataError(
            "no calibration data",
            fact="the ranges of activations come from it",
            way_out="Give it with --data, or use --precision float32.",
        )
    with clock.stage("annotate"):
        graph = annotate(module, spec)
        strategy = choose_strategy(graph, precision)
    with clock.stage("calibrate"):
        stats = observe_ranges(graph, samples, clock.progress)
    with clock.stage("choose numbers"):
        model = assign_numbers(
            graph, strategy, lambda src, _: (stats[src].low, stats[src].high), constant_edges(graph)
        )
        for method in methods:
            model = method.apply(model, stats)
    return model


def _realize_quantized(module: ir.IRModule, spec: HardwareSpec) -> ir.IRModule:
    """The integer form of a model that came with quantize and dequantize."""
    rows = [row for row in spec.rows("conv2d") if row.inputs[0].dtype.is_integer]
    if rows and rows[0].inputs[0].dtype.kind == "uint":
        module = unsign_activations(module)
    return realize_qdq(module, rows[0].requantize if rows else "float32")


def _build(
    plan: _Plan,
    spec: HardwareSpec,
    manifest: Manifest,
    samples: Dataset | None,
    output: Path,
    threads: int,
    clock: _Clock,
) -> CompileReport:
    """Compiles in a scratch folder, measures there, and moves what is complete to ``output``."""
    with tempfile.TemporaryDirectory(prefix="hago-") as scratch:
        folder = Path(scratch) / "artifact"
        with clock.stage("compile"):
            build_artifact(lower(plan.realized, spec), spec, manifest, folder)
        with clock.stage("measure"):
            trial = Trial(spec, folder, manifest, plan.realized, plan.baseline, samples, threads)
            found = measure(trial, Path(scratch))
        latency = found.compiled.latency_ms
        manifest = replace(
            manifest,
            accuracy=found.accuracy,
            latency_ms={} if latency is None else {"median": latency},
        )
        write_artifact(output, lambda path: _copy(folder / LIBRARY, path), manifest)
    return CompileReport(
        output=output,
        model=manifest.model,
        hardware=spec.name,
        precision=manifest.precision,
        edges=manifest.edges,
        compiled=found.compiled,
        baseline=found.baseline,
        accuracy=found.accuracy,
        seconds=clock.seconds,
    )


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _buildable(spec: HardwareSpec) -> HardwareSpec:
    """``spec``, if hago has kernels for it."""
    if spec.name.startswith("x86") or (spec.target.get("kind") == "llvm" and "mcpu" in spec.target):
        return spec
    raise SpecError(
        f"{spec.name}: no code generation yet",
        fact="this version has kernels for x86 only; other machines can be inspected",
        source=f"target {spec.target}",
        way_out="Compile for an x86 machine ('hago spec list'), or use 'hago inspect'.",
    )


class _Clock:
    """Shows the stages, and keeps how long each took in seconds."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        with self.progress.stage(name):
            yield
        self.seconds[name] = time.perf_counter() - start
