"""The model under search, made ready once: groups, numbers, sub-graphs, and who judges outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from tvm import ir

import hago
from hago.annotate import annotate
from hago.calibrate import Dataset, load_data
from hago.clock import Clock
from hago.deploy.build import machine_for, versions
from hago.deploy.manifest import Manifest
from hago.errors import DataError, ModelError, SpecError
from hago.frontend.model import import_model
from hago.hardware.host import missing_features
from hago.hardware.load import load_spec, spec_digest
from hago.hardware.spec import HardwareSpec
from hago.lower.select import machine_of
from hago.methods.facts import facts_of
from hago.methods.pick import Picked, check_recipe, pick_methods
from hago.model import came_quantized, input_specs, output_specs
from hago.plan import reshape, watch
from hago.prepare import prepare
from hago.sample import Sample
from hago.scheme import Array
from hago.search.evaluate import Judge, Simulate, build_simulation, judge_of
from hago.search.grouping import build_space
from hago.search.identity import code_digest, cpu_name, file_digest, samples_digest
from hago.search.metrics import check_labels, find_metric
from hago.search.numbers import Numbers, find_numbers
from hago.search.request import Request
from hago.search.segments import Segment, cut
from hago.search.space import Space
from hago.search.tracker import describe

_WEIGHT_BITS = 8  # the machines' own
_NARROW = (6, 4)  # bits of weights that a search for size may take
Check = Callable[[dict[str, str]], None]
BuildSimulation = Callable[[Numbers], Simulate]


@dataclass(frozen=True, eq=False)
class Subject:
    """Everything about a request that does not change from trial to trial."""

    request: Request
    spec: HardwareSpec
    space: Space
    numbers: Numbers
    segments: tuple[Segment, ...]
    samples: tuple[Sample, ...]
    simulate: Simulate
    judge: Judge
    manifest: Manifest
    identity: dict[str, str]

    @property
    def is_timed(self) -> bool:
        """Whether the machine is at hand: this one, or the devices of a tracker."""
        return not _lacking(self.request, self.spec)

    @property
    def latency_key(self) -> dict[str, str]:
        """What latencies depend on, beside the sub-graph: machine and versions."""
        names = ("hardware", "machine", "threads", "version")
        return {name: self.identity[name] for name in names}


def build_subject(
    request: Request, clock: Clock, check: Check, simulation: BuildSimulation | None = None
) -> Subject:
    """Imports, annotates, calibrates, simulates. Raises a HagoError for what cannot be searched.

    ``check`` sees what the search is about before the long work begins. ``simulation`` builds the
    simulated module elsewhere than here.
    """
    spec = load_spec(request.hardware)
    _check_machine(request, spec)
    check_recipe(request.recipe)
    score = find_metric(request.metric)
    labels = _labels(request)
    with clock.stage("import model"):
        module = _float_module(request)
    recipes = _recipes(request, module, spec)
    inputs = input_specs(module)
    data = load_data(request.data, inputs)
    judged = data if request.judged_on is None else load_data(request.judged_on, inputs)
    samples: tuple[Sample, ...] = tuple(islice(judged, request.samples))
    identity = _identity(request, spec, samples)
    check(identity)
    numbers = _numbers(recipes, module, spec, data, clock)
    with clock.stage("build simulation"):
        simulate = (simulation or build_simulation)(numbers)
    exact = simulate(numbers.space.floats, samples)
    return Subject(
        request=request,
        spec=spec,
        space=numbers.space,
        numbers=numbers,
        segments=cut(numbers.graph, numbers.space),
        samples=samples,
        simulate=simulate,
        judge=judge_of(exact, samples, labels, score),
        manifest=_manifest(request, module, spec, recipes[_WEIGHT_BITS]),
        identity=identity,
    )


def _float_module(request: Request) -> ir.IRModule:
    module = prepare(import_model(request.model, dict(request.shapes)))
    if came_quantized(module):
        raise ModelError(
            f"{request.model}: quantized already",
            fact="its precisions were chosen by whoever quantized it",
            way_out="Search with the float model, or use 'hago compile'.",
        )
    return module


def _recipes(
    request: Request, module: ir.IRModule, spec: HardwareSpec
) -> Mapping[int, Picked]:
    """The methods for weights of each number of bits that there may be."""
    every = (_WEIGHT_BITS, *_narrow_bits(request))
    return {bits: pick_methods(request.recipe, facts_of(module, bits, spec)) for bits in every}


def _numbers(
    recipes: Mapping[int, Picked],
    module: ir.IRModule,
    spec: HardwareSpec,
    data: Dataset,
    clock: Clock,
) -> Numbers:
    """The space of ``module`` on ``spec``, with the numbers of all that it has."""
    usual = recipes[_WEIGHT_BITS]
    with clock.stage("look at channels"):
        watched = reshape(watch(annotate(module, spec), spec), spec, data, usual.methods)
    space = build_space(watched.graph, [bits for bits in recipes if bits != _WEIGHT_BITS])
    with clock.stage("calibrate"):
        methods = [method for picked in recipes.values() for method in picked.methods]
        stats = watched.statistics(data, clock.progress, methods)
    with clock.stage("choose numbers"):
        return find_numbers(
            space, watched.graph, stats, lambda bits: recipes.get(bits, usual).methods
        )


def _manifest(
    request: Request, module: ir.IRModule, spec: HardwareSpec, picked: Picked
) -> Manifest:
    return Manifest(
        model=request.model.name,
        precision="float32",
        inputs=input_specs(module),
        outputs=output_specs(module),
        machine=machine_for(spec),
        versions=versions(),
        recipe={} if picked.report is None else picked.report.to_json(),
    )


def _check_machine(request: Request, spec: HardwareSpec) -> None:
    machine_of(spec)  # raises BuildError where there are no kernels
    if spec.is_gpu and request.goal.needs_latency:
        raise SpecError(
            f"{spec.name}: a search does not measure latencies on GPUs",
            fact="its trials run kernels on the CPU",
            source="hago/search/work.py",
            way_out="Search with --objective size or accuracy, or use 'hago compile'.",
        )
    missing = _lacking(request, spec)
    if missing and (request.goal.needs_latency or request.tracker is not None):
        where = "here" if request.tracker is None else f"on {describe(request.tracker).name}"
        raise SpecError(
            f"{spec.name}: latencies cannot be measured {where}",
            fact=f"{'this' if request.tracker is None else 'that'} CPU lacks {', '.join(missing)}",
            source="/proc/cpuinfo",
            way_out="Search on such a machine, or with --objective size or accuracy.",
        )


def _lacking(request: Request, spec: HardwareSpec) -> tuple[str, ...]:
    """Features of ``spec`` that the CPU on which latencies are measured lacks."""
    if request.tracker is None:
        return missing_features(spec)
    return describe(request.tracker).lacks(spec)


def _narrow_bits(request: Request) -> tuple[int, ...]:
    """Few bits make a model smaller, not faster: they are for who minds its size."""
    return _NARROW if request.goal.needs_size else ()


def _labels(request: Request) -> Array | None:
    check_labels(request.metric, request.labels)
    if request.labels is None:
        return None
    try:
        return np.asarray(np.load(request.labels, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{request.labels}: no labels",
            fact=str(error),
            way_out="Give an .npy with the number of the right class of each sample.",
        ) from error


def _identity(
    request: Request, spec: HardwareSpec, samples: Sequence[Sample]
) -> dict[str, str]:
    return {
        "model": file_digest(request.model),
        "shapes": str({name: tuple(shape) for name, shape in sorted(request.shapes.items())}),
        "hardware": f"{spec.name} {spec_digest(spec)}",
        "machine": cpu_name() if request.tracker is None else describe(request.tracker).name,
        "threads": str(request.threads),
        "version": f"{hago.__version__} {code_digest()}",
        "recipe": ",".join(request.recipe),
        "weights": ",".join(map(str, _narrow_bits(request))) or "the machine's",
        "library": "compressed" if request.compressed else "plain",
        "kernels": "the templates' choice" if request.kernel_cache is None else "as raced",
        "samples": f"{len(samples)} {samples_digest(samples)}",
        "metric": request.metric,
        "labels": "" if request.labels is None else file_digest(request.labels),
    }
