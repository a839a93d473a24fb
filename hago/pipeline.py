"""The whole flow, from a model file to an artifact, in functions that read from top to bottom."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from tvm import ir

from hago.annotate import annotate
from hago.annotate.narrow import MACHINE_FORMAT, WeightFormat
from hago.annotate.narrow_activations import MACHINE_ACTIVATIONS, ActivationFormat
from hago.calibrate import Dataset, load_data
from hago.clock import Clock
from hago.deploy.artifact import LIBRARY, check_output, folder_bytes, write_artifact
from hago.deploy.build import build_artifact, check_tools, machine_for, versions
from hago.deploy.manifest import Manifest, read_manifest
from hago.deploy.runtime import check_threads
from hago.deploy.static_object import check_static_object, write_static_object
from hago.dump import dump
from hago.edges import edge_reports, find_edge, imported_edge_reports
from hago.errors import StrategyError
from hago.export.onnx import check_file, export_onnx
from hago.frontend.model import import_model
from hago.hardware.host import kernels_of, missing_features
from hago.hardware.load import load_spec
from hago.hardware.spec import HardwareSpec
from hago.kernel_search.network import check_tunable, compare, forget, tune_network
from hago.lift import lifted_plan
from hago.lower.fold import fold_dequantized_weights
from hago.lower.lower import Choose, by_template, lower_with_weights
from hago.lower.select import machine_of
from hago.lower.stored import constant_bytes
from hago.measure import Built, agreement, fastest, race
from hago.methods.facts import facts_of
from hago.methods.pick import NONE, Picked, check_recipe, pick_methods
from hago.methods.recipes import DEFAULT
from hago.methods.syntax import parse_steps
from hago.mix import MIXED, explained, find_raises, moved_per_ms, operation_latencies, raised
from hago.model import came_quantized, input_specs, output_specs
from hago.plan import PRECISIONS, Plan, Quantizer, float_plan, realized_plan
from hago.prepare import prepare
from hago.progress import SILENT, Progress
from hago.report import CompileReport, EdgeReport, InspectReport, TuningReport
from hago.sample import Sample, did_you_mean
from hago.search.cache import Cache
from hago.search.winners import Winners, open_winners

DEFAULT_RECIPE = (DEFAULT,)


@dataclass(frozen=True)
class Options:
    """What a compilation was asked for, beside model, machine and data.

    ``precision`` "auto" builds every precision that the machine has, and the lowest one with
    float32 for what float32 is faster at, and keeps the fastest. Where the lowest are 8-bit floats
    that cost the outputs too much, there is one with bfloat16 for some products, see hago.lift.
    ``recipe`` names methods of ``hago.methods`` and recipes of ``hago.methods.recipes``, applied in
    order, options in brackets: ``"best"`` or ``("percentile(keep=99.9)", "obc")``. ``shapes`` fixes
    dynamic dimensions by input name. ``export_qdq`` is an ONNX file to write the result to as well,
    in QDQ form; ``export_object`` a static object NAME.o, with a C header NAME.h, that needs no
    runtime. ``weights`` and ``activations`` narrow the machine's integers. The library of the
    artifact is stored ``compressed``, which takes 10 ms a MB longer to load. Kernels are built as
    ``kernel_cache`` knows them to be fastest on this computer; without one each template chooses,
    the same everywhere. For ``tune_kernels_s`` seconds kernels are raced for it (where there is
    none, for this compilation alone). Raises StrategyError for a precision that does not exist or
    has no integers to narrow, and a recipe that cannot be read.
    """

    precision: str = "auto"
    recipe: str | tuple[str, ...] = DEFAULT_RECIPE
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    threads: int = 1
    export_qdq: Path | None = None
    export_object: Path | None = None
    weights: WeightFormat = MACHINE_FORMAT
    compressed: bool = False
    activations: ActivationFormat = MACHINE_ACTIVATIONS
    kernel_cache: Path | None = None
    tune_kernels_s: float | None = None

    @property
    def narrows(self) -> bool:
        """Whether integers are to have fewer bits than the machine's, or scales of their own."""
        return self.weights.narrows or self.activations.narrows

    def __post_init__(self) -> None:
        parse_steps(self.recipe)
        if self.precision not in PRECISIONS:
            raise StrategyError(
                f"no precision '{self.precision}'{did_you_mean(self.precision, PRECISIONS)}",
                fact=f"hago knows {', '.join(PRECISIONS)}",
            )
        if self.narrows and self.precision in ("float32", "bfloat16"):
            raise StrategyError(
                f"precision '{self.precision}' has no codes of fewer bits",
                fact="only integers are narrowed",
                way_out="Give --precision int8, or leave out the bits and groups of codes.",
            )


def compile_model(
    model: str | Path | ir.IRModule,
    hardware: str,
    data: str | Path | Iterable[Sample] | None,
    output: str | Path,
    options: Options | None = None,
    progress: Progress = SILENT,
) -> CompileReport:
    """Quantizes ``model`` for ``hardware`` and writes the artifact folder ``output``.

    ``model`` is a file, or a module that a function of ``hago.frontend`` imported.
    ``data`` is what :func:`hago.calibrate.load_data` takes; it may be None where nothing needs a
    range: for a model that is quantized already, and for "float32" and "bfloat16". Raises a
    HagoError for anything wrong with the model, the machine, the data, or the folder.
    """
    options, model, output = options or Options(), _located(model), Path(output)
    clock = Clock(progress)
    check_output(output)
    check_threads(options.threads)
    if options.export_qdq is not None:
        check_file(options.export_qdq)
    spec = load_spec(hardware)
    machine_of(spec)  # raises BuildError where there are no kernels, before the long work
    check_tools(spec)
    if options.export_object is not None:
        check_static_object(spec, options.export_object)
    if options.tune_kernels_s is not None:
        check_tunable(spec)
    check_recipe(options.recipe)
    with clock.stage("import model"):
        module = prepared_module(model, options.shapes)
    _check_narrows(module, options)
    samples = None if data is None else load_data(data, input_specs(module))
    picked = _picked(module, spec, options)
    quantizer = Quantizer(
        module, spec, samples, picked.methods, clock, options.weights, picked.report,
        options.activations,
    )  # fmt: skip
    plans = list(quantizer.plans(options.precision))
    if options.precision == "auto" and options.weights == MACHINE_FORMAT:
        lifted = lifted_plan(plans[0], samples, clock)
        plans[:0] = [] if lifted is None else [lifted]
    if not came_quantized(module) and options.precision != "float32":
        plans.append(float_plan(annotate(module, spec)))
    manifest = _manifest(model_name(model), options.precision, module, spec)
    with tempfile.TemporaryDirectory(prefix="hago-") as scratch:
        job = _Job(spec, options, manifest, Path(scratch), clock)
        built = [_build(plan, job) for plan in plans]
        if options.precision == "auto":
            mixed = _mixed(built, job)
            if mixed is not None:
                built.insert(0, _build(mixed, job))
        return _choose(built, job, samples, output)


def _manifest(
    name: str, precision: str, module: ir.IRModule, spec: HardwareSpec
) -> Manifest:
    """What is known of the artifact before anything is built."""
    return Manifest(
        model=name,
        precision=precision,
        inputs=input_specs(module),
        outputs=output_specs(module),
        machine=machine_for(spec),
        versions=versions(),
        constants={} if came_quantized(module) else {"float32": constant_bytes(module)},
    )


@dataclass(frozen=True, eq=False)
class _Job:
    """What stays the same from the first thing that is built to the last."""

    spec: HardwareSpec
    options: Options
    manifest: Manifest
    scratch: Path
    clock: Clock

    @cached_property
    def winners(self) -> Winners | None:
        """The schedules of kernels that are known, or will be."""
        folder, kernels = self.options.kernel_cache, kernels_of(self.spec)
        if (folder is None and self.options.tune_kernels_s is None) or missing_features(kernels):
            return None
        cache = Cache(folder or self.scratch / "kernels")
        return open_winners(cache, kernels, self.options.threads)

    @property
    def choose(self) -> Choose:
        return by_template if self.winners is None else self.winners.choose


def inspect_model(
    model: str | Path | ir.IRModule,
    hardware: str,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> InspectReport:
    """Every edge of ``model`` on ``hardware``: what it may be, what it would be, and why."""
    spec, model = load_spec(hardware), _located(model)
    module = prepared_module(model, shapes or {})
    if came_quantized(module):
        return InspectReport(model_name(model), spec.name, imported_edge_reports(module, spec))
    reports = edge_reports(annotate(module, spec))
    preferred = (replace(r, chosen=r.choices[0]) if r.choices else r for r in reports)
    return InspectReport(model_name(model), spec.name, tuple(preferred))


def explain_edge(folder: str | Path, edge: str) -> EdgeReport:
    """Why ``edge`` of the artifact ``folder`` has its precision, and its numbers."""
    return find_edge(read_manifest(Path(folder)).edges, edge)


def _located(model: str | Path | ir.IRModule) -> Path | ir.IRModule:
    return Path(model) if isinstance(model, str) else model


def _check_narrows(module: ir.IRModule, options: Options) -> None:
    if options.narrows and came_quantized(module):
        raise StrategyError(
            "the model is quantized already: its codes keep their bits",
            fact="its file has quantize operations, and no float values of what they read",
            way_out="Give the float model, or leave out the bits and groups of codes.",
        )


def _picked(module: ir.IRModule, spec: HardwareSpec, options: Options) -> Picked:
    """The methods for ``module``; none where no edge is to get a range."""
    if came_quantized(module) or options.precision in ("float32", "bfloat16"):
        return NONE
    return pick_methods(options.recipe, facts_of(module, options.weights.bits, spec))


def model_name(model: Path | ir.IRModule) -> str:
    """What reports call a model: its file's name."""
    return "module" if isinstance(model, ir.IRModule) else model.name


def prepared_module(
    model: Path | ir.IRModule, shapes: Mapping[str, Sequence[int]]
) -> ir.IRModule:
    """``model`` in the form that all stages after take: imported, then ``hago.prepare``."""
    imported = model if isinstance(model, ir.IRModule) else import_model(model, dict(shapes))
    prepared = prepare(dump(imported, "imported"))
    if not came_quantized(prepared):  # weights alone: hago quantizes them again with the rest
        prepared = prepare(fold_dequantized_weights(prepared))
    return dump(prepared, "prepared")


def _build(plan: Plan, job: _Job, what: str = "") -> Built:
    """The artifact of ``plan``; ``what`` tells it from another one of the same precision."""
    folder = job.scratch / (plan.precision + what)
    with job.clock.stage(f"compile ({plan.precision}{what})"):
        lowered = lower_with_weights(plan.module, job.spec, (), job.choose)
        module = dump(lowered.module, f"lowered-{plan.precision}{what}")
        constants = {"stored": constant_bytes(module), **job.manifest.constants}
        manifest = replace(
            job.manifest, precision=plan.precision, edges=plan.edges, constants=constants
        )
        build_artifact(module, job.spec, manifest, folder)
    return Built(plan, folder, lowered.calls)


def _mixed(built: Sequence[Built], job: _Job) -> Plan | None:
    """The lowest of ``built`` with float32, the last, for what is slower in it than in that; None
    where that is nothing, or cannot be measured here."""
    spec, clock, threads = job.spec, job.clock, job.options.threads
    lowest, floats = built[0], built[-1]
    is_measurable = not spec.is_gpu and not missing_features(spec)
    if lowest.plan.model is None or lowest is floats or not is_measurable:
        return None
    precision = lowest.plan.precision
    with clock.stage("measure kernels"):
        low, high = (
            operation_latencies(each.folder, each.calls, threads) for each in (lowest, floats)
        )
        moved = moved_per_ms(spec)
    raises = find_raises(lowest.plan.model, low, high, moved)
    if not raises:
        return None
    model = lowest.plan.correct(raised(lowest.plan.model, raises))
    plan = realized_plan(MIXED, model, lowest.plan.recipe, clock)
    return replace(plan, edges=explained(plan.edges, raises, precision))


def _tuned(built: Built, job: _Job) -> tuple[Built, TuningReport | None]:
    """``built`` with the fastest kernels that are found within the budget; as it is where the whole
    is slower with them by more than the spread."""
    budget, winners, threads = job.options.tune_kernels_s, job.winners, job.options.threads
    if budget is None or winners is None:
        return built, None
    with job.clock.stage("race kernels"):
        reports = tune_network(
            built.folder, built.calls, job.spec, winners, threads, budget, job.clock.progress
        )
    tuned = _build(built.plan, job, ", tuned")
    if [call.schedule for call in tuned.calls] == [call.schedule for call in built.calls]:
        return built, TuningReport(reports)
    with job.clock.stage("measure"):
        rounds = compare(built.folder, tuned.folder, threads)
    if rounds.is_slower(1):
        forget(winners, built.calls)
        return built, TuningReport(reports, rounds.ratio(1), is_taken=False)
    return tuned, TuningReport(reports, rounds.ratio(1))


def _choose(
    built: list[Built], job: _Job, samples: Dataset | None, output: Path
) -> CompileReport:
    """Measures what was built and moves the one that was asked for, or the fastest, to ``output``.

    The last of ``built`` is float32, if there are several.
    """
    spec, options, manifest, clock = job.spec, job.options, job.manifest, job.clock
    with clock.stage("measure"):
        contestants = race(built, spec, options.threads)
    chosen, last = fastest(contestants) if options.precision == "auto" else 0, len(built) - 1
    winner, tuning = _tuned(built[chosen], job)
    if winner is not built[chosen]:
        built[chosen] = winner
        with clock.stage("measure"):
            contestants = race(built, spec, options.threads)
    accuracy: dict[str, float] = {}
    if samples is not None and chosen != last:
        with clock.stage("compare outputs"):
            accuracy = agreement(built[last], winner, spec, samples)
    latency = contestants[chosen].latency_ms
    manifest = replace(
        manifest,
        precision=winner.plan.precision,
        edges=winner.plan.edges,
        accuracy=accuracy,
        latency_ms={} if latency is None else {"median": latency},
        recipe={} if winner.plan.recipe is None else winner.plan.recipe.to_json(),
        constants=read_manifest(winner.folder).constants,
    )
    if options.export_qdq is not None:
        with clock.stage("export"):
            export_onnx(winner.plan.exchange(), options.export_qdq)
    if options.export_object is not None:
        with clock.stage("export object"):
            lowered = lower_with_weights(winner.plan.module, spec, (), job.choose).module
            specs = manifest.inputs, manifest.outputs
            write_static_object(lowered, spec, specs, options.export_object)
    def copy(path: Path) -> None:
        shutil.copyfile(winner.folder / LIBRARY, path)

    write_artifact(output, copy, manifest, compressed=options.compressed)
    return CompileReport(
        output=output,
        model=manifest.model,
        hardware=spec.name,
        precision=manifest.precision,
        edges=manifest.edges,
        compiled=replace(contestants[chosen], size_bytes=folder_bytes(output)),
        baseline=contestants[last] if chosen != last else None,
        slower=tuple(c for i, c in enumerate(contestants[:last]) if i != chosen),
        accuracy=accuracy,
        seconds=clock.seconds,
        recipe=winner.plan.recipe,
        constants=manifest.constants,
        model_on=manifest.machine.model_on,
        tuning=tuning,
        cached_kernels=len({call.function for call in winner.calls if call.schedule is not None}),
    )
