"""The answer to "my accuracy dropped: where?", in one function that reads from top to bottom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from tvm import ir

from hago.accuracy import compare_outputs
from hago.annotate import annotate
from hago.annotate.constants import constant_edges
from hago.annotate.narrow import MACHINE_FORMAT, WeightFormat
from hago.annotate.narrow_activations import MACHINE_ACTIVATIONS, ActivationFormat
from hago.calibrate import load_data
from hago.clock import Clock
from hago.diagnose.bars import activation_bars, weight_bars
from hago.diagnose.case import Case, Examination
from hago.diagnose.diagnosis import Bars, Diagnosis, EdgeDiagnosis, Lifted
from hago.diagnose.measure import Costs, decibels, measure_costs, measure_lifted
from hago.diagnose.remedies import remedies_of
from hago.diagnose.roundings import rounding_space
from hago.errors import ModelError, StrategyError
from hago.graph import QuantModel
from hago.hardware.host import host_spec
from hago.hardware.load import load_spec
from hago.methods.facts import facts_of
from hago.methods.pick import Picked, check_recipe, pick_methods
from hago.model import came_quantized, input_specs, run_on
from hago.pipeline import DEFAULT_RECIPE, model_name, prepared_module
from hago.plan import Quantized, Quantizer
from hago.progress import SILENT, Progress
from hago.sample import Sample
from hago.search.evaluate import build_simulation
from hago.search.metrics import Outputs
from hago.search.numbers import Numbers
from hago.search.space import Group, Space


@dataclass(frozen=True)
class Question:
    """What is to be diagnosed.

    ``data`` is what :func:`hago.calibrate.load_data` takes; all of it calibrates, its first
    ``samples`` judge. ``recipe``, ``shapes``, ``weights`` and ``activations`` are as for a
    compilation.
    """

    model: Path | ir.IRModule
    hardware: str
    data: str | Path | Iterable[Sample]
    recipe: str | tuple[str, ...] = DEFAULT_RECIPE
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    weights: WeightFormat = MACHINE_FORMAT
    samples: int = 8
    activations: ActivationFormat = MACHINE_ACTIVATIONS


def diagnose(question: Question, progress: Progress = SILENT) -> Diagnosis:
    """Rounds every tensor of the quantized model alone, and one after the other.

    Simulated on this computer, whatever machine is asked about. Raises a HagoError for anything
    wrong with the model, the machine, the recipe or the data.
    """
    clock = Clock(progress)
    spec = load_spec(question.hardware)
    check_recipe(question.recipe)
    with clock.stage("import model"):
        module = prepared_module(question.model, question.shapes)
    _check_float(module, question)
    picked = pick_methods(question.recipe, facts_of(module, question.weights.bits, spec))
    data = load_data(question.data, input_specs(module))
    quantizer = Quantizer(
        module, spec, data, picked.methods, clock, question.weights,
        activations=question.activations,
    )  # fmt: skip
    quantized = quantizer.quantize(annotate(module, spec), "int8")
    space = rounding_space(quantized.model)
    with clock.stage("build simulation"):
        simulate = build_simulation(_numbers(space, quantized.model))
    samples = tuple(islice(data, question.samples))
    with clock.stage("round edges"):
        exact = _float_outputs(quantized, samples)
        costs = measure_costs(space, simulate, samples, progress, exact)
        lifted = measure_lifted(space, simulate, samples, costs)
    with clock.stage("examine tensors"):
        examination = _examination(quantized, quantizer)
        edges = tuple(_edges(space, costs, examination, picked))
    return Diagnosis(
        model=model_name(question.model),
        hardware=spec.name,
        samples=len(samples),
        accuracy=_accuracy(costs),
        edges=edges,
        lifted=tuple(Lifted(count, decibels(noise)) for count, noise in lifted.items()),
        recipe=picked.report,
        seconds=clock.seconds,
    )


def _check_float(module: ir.IRModule, question: Question) -> None:
    if came_quantized(module):
        raise ModelError(
            f"{model_name(question.model)}: quantized already",
            fact="a diagnosis compares with the float model, which is not in the file",
            way_out="Give the float model that it was made from.",
        )


def _numbers(space: Space, model: QuantModel) -> Numbers:
    """The numbers of ``model`` for each group of ``space``, or none."""
    return Numbers(space, model.graph, (QuantModel(model.graph, {}, {}), model))


def _float_outputs(quantized: Quantized, samples: Sequence[Sample]) -> Outputs | None:
    """Those of the float model, where a method changed the module after it was looked at."""
    watched = quantized.watched
    if watched is None or watched.graph.module is quantized.model.graph.module:
        return None
    run = run_on(watched.graph.module, host_spec())
    return [run(sample) for sample in samples]


def _examination(quantized: Quantized, quantizer: Quantizer) -> Examination:
    watched, data = quantized.watched, quantizer.samples
    if watched is None or data is None:
        raise StrategyError(
            f"{quantizer.spec.name}: no edge of this model has codes to be diagnosed",
            fact="its low precision is a float without ranges",
            source=quantizer.spec.name,
            way_out="Name a machine with integer products: 'hago spec list'.",
        )
    return Examination(quantized.model, quantized.stats, watched.channels(data))


def _edges(
    space: Space, costs: Costs, examination: Examination, picked: Picked
) -> Iterator[EdgeDiagnosis]:
    whole = sum(costs.alone) or 1.0
    applied = [method.name for method in picked.methods]
    cases = examination.cases(space.groups)
    for number, (group, case) in enumerate(zip(space.groups, cases, strict=True)):
        fit, alone = case.fit, costs.alone[number]
        yield EdgeDiagnosis(
            edge=str(case.edge),
            scheme=str(case.scheme),
            is_weight=case.is_weight,
            own_db=fit.sqnr_db,
            alone_db=decibels(alone),
            together_db=decibels(costs.together[number]),
            share=alone / whole,
            clipped=fit.clipped,
            clipped_noise=fit.clipped_noise,
            low=fit.low,
            high=fit.high,
            seen_low=fit.seen_low,
            seen_high=fit.seen_high,
            step=fit.step,
            bulk=fit.bulk,
            remedies=remedies_of(case, applied),
            readers=_others(group),
            bars=_bars(case, examination),
        )


def _others(group: Group) -> tuple[str, ...]:
    return tuple(map(str, group.edges[1:]))


def _bars(case: Case, examination: Examination) -> Bars:
    if case.is_weight:
        weight = constant_edges(examination.model.graph)[case.edge]
        return weight_bars(weight, examination.model.quants[case.edge])
    return activation_bars(examination.stats[case.edge.src].histogram)


def _accuracy(costs: Costs) -> dict[str, float]:
    """The first output of all roundings together, against float32."""
    exact, rounded = (
        [np.asarray(next(iter(each.values()))) for each in outputs]
        for outputs in (costs.exact, costs.rounded)
    )
    return compare_outputs(exact, rounded)
