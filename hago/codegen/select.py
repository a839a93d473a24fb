"""Which instruction computes a workload on a machine."""

from __future__ import annotations

import numpy as np

from hago.codegen.intrin import dot as x86
from hago.codegen.intrin import neon
from hago.codegen.intrin.dot import NARROW, Dot
from hago.codegen.vector import storage
from hago.codegen.workload import PROVEN, BatchMatmul, Conv2d, GroupedMatmul, Machine, Matmul
from hago.errors import BuildError

DOTS = (NARROW, *x86.DOTS, *neon.DOTS)
Product = Conv2d | Matmul | GroupedMatmul | BatchMatmul
# What a proof about weights proves as well.
_IMPLIED = {"int4": ("int4", "int8_pairs")}


def has_dot(workload: Product, machine: Machine) -> bool:
    """Whether :func:`choose_dot` finds one. Integer products are of bytes in every kernel."""
    if workload.accum == "int32" and workload.weight not in ("int8", "uint8", *PROVEN):
        return False
    return any(_offers(dot, workload, machine) for dot in DOTS)


def choose_dot(workload: Product, machine: Machine) -> Dot:
    """The machine's preferred instruction for the workload's element types.

    Weights declared ``int4`` or ``int8_pairs`` are proven to fit the pairs of VPMADDUBSW or SMULL.
    Raises BuildError where the machine has no instruction for the types.
    """
    for dot in DOTS:
        if _offers(dot, workload, machine):
            return dot
    raise BuildError(
        f"no instruction for {workload.data} x {workload.weight} products",
        fact=f"the machine's rows name {', '.join(sorted(machine.instructions)) or 'none'}",
        source="hago/codegen/intrin/dot.py and neon.py",
        way_out="Name one of " + ", ".join(d.name for d in DOTS) + " in the spec.",
    )


def dots_of(machine: Machine) -> tuple[Dot, ...]:
    """What the machine's rows name."""
    return tuple(dot for dot in DOTS if dot.name in machine.instructions)


def _offers(dot: Dot, workload: Product, machine: Machine) -> bool:
    return dot.name in machine.instructions and _multiplies(dot, workload)


def _multiplies(dot: Dot, workload: Product) -> bool:
    """Integers may be widened on the way to an instruction, floats may not. Depthwise convolutions
    add products of other neighbours than those that a proof is about."""
    is_depthwise = isinstance(workload, Conv2d) and workload.is_depthwise
    if is_depthwise and (dot.rows > 1 or dot.sums > 1 or dot.proof):
        return False
    proven = _IMPLIED.get(workload.weight, (workload.weight,))
    if dot.accum != workload.accum or dot.proof not in ("", *proven):
        return False
    if workload.accum != "int32":
        return dot.data == storage(workload.data)
    weight = PROVEN.get(workload.weight, workload.weight)
    return np.can_cast(workload.data, dot.data) and np.can_cast(weight, dot.weight)
