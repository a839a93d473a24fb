"""Products in bfloat16 where 8-bit floats cost the outputs too much.

    noise of all in 8 bits > bound   =>   the product with the most noise for its bytes: bfloat16

An e4m3 has four significant bits: whatever its scale, a tensor keeps about 31 dB, where 8-bit
integers with a fitting range keep 40. A long chain of products adds that up. Sensitivities by
measuring what each product alone costs the outputs, and sums of them, are those of arXiv 2505.13060
(for a machine with both formats); its gain is time, here it is what 8 bits are for where both are
multiplied at one rate, the bytes that are read. What the recipe corrected is corrected again:
biases made up for errors of layers that are gone now (EfficientNet-Lite0: 1.1 dB).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from hago.annotate.biases import biases_without
from hago.clock import Clock
from hago.dataflow import Node, flat_args, read_dataflow, tensor_type
from hago.graph import Edge, QuantModel
from hago.plan import Plan, realized_plan
from hago.report import EdgeReport
from hago.sample import Sample
from hago.scheme import BFLOAT16, TensorQuant, plain_float
from hago.search.evaluate import build_simulation, capped_noise
from hago.search.grouping import build_space
from hago.search.numbers import Numbers
from hago.search.space import FLOAT, Assignment, Group, Option, Space

FLOAT8 = "float8"  # the precision that this is for
LIFTED = "float8-bfloat16"  # what the other is called
# Noise over signal power of the outputs: 25 dB of what was calibrated with; of other data 24 dB,
# and 25 after what is corrected again. That is what 8-bit integers reach of EfficientNet-Lite0; at
# 21.5 dB one more class in 43 changes.
_BOUND = 10**-2.5
_SAMPLES = 16


@dataclass(frozen=True)
class Lift:
    """A ``group`` that was lifted, and the ``noise`` that it alone costs the outputs in 8 bits."""

    group: Group
    noise: float


def lifted_plan(
    plan: Plan, samples: Iterable[Sample] | None, clock: Clock, bound: float = _BOUND
) -> Plan | None:
    """``plan`` with products in bfloat16, as few bytes as keep ``bound`` on the noise of the
    outputs; None where it keeps that itself, or is not in 8-bit floats."""
    if plan.model is None or samples is None or plan.precision != FLOAT8:
        return None
    with clock.stage("find what 8-bit floats cost"):
        model, lifts = lift(plan.model, list(islice(samples, _SAMPLES)), bound)
    if not lifts:
        return None
    with clock.stage("correct what is left of it"):
        model = plan.correct(model)
    found = realized_plan(LIFTED, model, plan.recipe, clock)
    return replace(found, edges=tuple(_explained(found.edges, lifts)), correct=plan.correct)


def lift(
    model: QuantModel, samples: Sequence[Sample], bound: float
) -> tuple[QuantModel, tuple[Lift, ...]]:
    """``model`` after lifting groups one by one, until the noise is below ``bound`` or none is
    left; and these groups."""
    numbers = _numbers(model)
    space, simulate = numbers.space, build_simulation(numbers)
    exact = simulate(space.floats, samples)

    def noise(assignment: Assignment) -> float:
        return capped_noise(simulate(assignment, samples), exact)

    lowest, lifts = space.lowest, []
    if noise(lowest) <= bound:
        return model, ()
    alone = [noise(_only(number, lowest)) for number in range(len(lowest))]
    nodes = read_dataflow(model.graph.module).by_name()
    saved = [_bytes(group, nodes) for group in space.groups]
    choice = list(lowest)
    for number in sorted(range(len(lowest)), key=lambda number: -alone[number] / saved[number]):
        choice[number] -= 1
        lifts.append(Lift(space.groups[number], alone[number]))
        if noise(tuple(choice)) <= bound:
            break
    return numbers.model(tuple(choice)), tuple(lifts)


def _only(number: int, lowest: Assignment) -> Assignment:
    return tuple(option if other == number else 0 for other, option in enumerate(lowest))


def _bytes(group: Group, nodes: Mapping[str, Node]) -> int:
    """Elements of what the group reads: a byte less of each is what 8 bits save."""
    shapes = {e.src: tensor_type(flat_args(nodes[e.dst].value)[e.arg])[0] for e in group.edges}
    return sum(map(math.prod, shapes.values()))


def _numbers(model: QuantModel) -> Numbers:
    """A space of what ``model`` has in codes: float32, bfloat16 where the machine has it, these."""
    groups, wide = [], dict[Edge, TensorQuant]()
    for group in build_space(model.graph).groups:
        low = {edge: model.strategy[edge] for edge in group.edges if edge in model.strategy}
        options = [option for option in group.options if option.name == str(BFLOAT16)]
        if low:
            lowest = Option("codes", min(scheme.dtype.bits for scheme in low.values()), low)
            groups.append(replace(group, options=(FLOAT, *options, lowest)))
            wide.update({e: plain_float(s) for each in options for e, s in each.schemes.items()})
    space = Space(tuple(groups))
    raised = replace(
        model,
        strategy={**model.strategy, **{edge: quant.scheme for edge, quant in wide.items()}},
        quants={**model.quants, **wide},
        weights={edge: codes for edge, codes in model.weights.items() if edge not in wide},
        biases=biases_without(model, wide),
    )
    return Numbers(space, model.graph, (model, raised, model))


def _explained(edges: Iterable[EdgeReport], lifts: Iterable[Lift]) -> Iterable[EdgeReport]:
    """``edges`` with what was measured as the reason of those that were lifted."""
    why = {
        str(edge): f"in 8 bits {each.group.name} alone leaves the outputs "
        f"{-10 * math.log10(each.noise):.1f} dB"
        for each in lifts
        for edge in each.group.edges
        if each.noise > 0
    }
    for each in edges:
        told = why.get(each.edge)
        yield replace(each, reason=f"{told}; {each.reason}") if told else each
