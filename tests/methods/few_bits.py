"""Models whose activations have few bits, simulated: for methods whose orders show only there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from tvm import ir

from hago.accuracy import sqnr_db
from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.calibrate import load_data
from hago.gradient import over_samples, read_program
from hago.gradient.fake_quantize import model_hooks
from hago.graph import QuantGraph, QuantModel, Strategy
from hago.hardware.load import load_spec
from hago.methods.assign import assign_numbers
from hago.methods.method import Method, find_methods
from hago.model import input_specs
from hago.plan import reshape, watch
from hago.sample import Sample
from hago.scheme import Array, DType


def quantized(
    module: ir.IRModule, samples: Sequence[Sample], recipe: str | Sequence[Method], bits: int
) -> QuantModel:
    """``module`` with activations of ``bits`` bits, calibrated on ``samples`` by ``recipe``."""
    spec = load_spec("x86-vnni")
    methods = find_methods(recipe) if isinstance(recipe, str) else recipe
    data = load_data(samples, input_specs(module))
    watched = reshape(watch(annotate(module, spec), spec), spec, data, methods)
    stats = watched.statistics(data, methods=methods)
    strategy = _narrowed(watched.graph, bits)
    model = assign_numbers(
        watched.graph,
        strategy,
        lambda src, _: (stats[src].low, stats[src].high),
        constant_edges(watched.graph),
    )
    for method in methods:
        model = method.apply(model, stats)
    return model


def _narrowed(graph: QuantGraph, bits: int) -> Strategy:
    return {
        edge: scheme
        if edge.is_constant
        else replace(scheme, dtype=DType(scheme.dtype.kind, min(bits, scheme.dtype.bits)))
        for edge, scheme in choose_strategy(graph, "int8").items()
    }


def outputs(module: ir.IRModule, samples: Iterable[Sample], model: QuantModel | None) -> Array:
    """The first output for each sample [n, ...], of the float ``module`` or as ``model`` gives it.

    ``module`` is that of the model's own graph where there is one.
    """
    program = read_program(module)
    hooks = {} if model is None else model_hooks(model)
    (name, *_) = program.outputs
    steps = list(program.steps.values())
    found = over_samples(steps, program.feed(samples), hooks, [name], 16)
    return np.asarray(found[name].numpy(), np.float64)


def fidelity(
    module: ir.IRModule,
    recipe: str | Sequence[Method],
    bits: int,
    calibration: Sequence[Sample],
    evaluation: Sequence[Sample],
) -> float:
    """SQNR in dB of the first output after ``recipe``, against the float ``module``'s."""
    model = quantized(module, calibration, recipe, bits)
    exact = outputs(module, evaluation, None)
    return sqnr_db(exact, outputs(model.graph.module, evaluation, model))
