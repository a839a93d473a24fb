"""Which instruction computes a workload on a machine."""

from __future__ import annotations

import numpy as np

from hago.codegen.intrin import dot as x86
from hago.codegen.intrin import neon
from hago.codegen.intrin.dot import NARROW, Dot
from hago.codegen.vector import storage
from hago.codegen.workload import PROVEN, BatchMatmul, Conv2d, Machine, Matmul
from hago.errors import BuildError

DOTS = (NARROW, *x86.DOTS, *neon.DOTS)


def choose_dot(workload: Conv2d | Matmul | BatchMatmul, machine: Machine) -> Dot:
    """The machine's preferred instruction for the workload's element types.

    Weights declared ``int7`` or ``int8_pairs`` are proven to fit the pairs of VPMADDUBSW or SMULL.
    Raises BuildError where the machine has no instruction for the types.
    """
    for dot in DOTS:
        if dot.name in machine.instructions and _multiplies(dot, workload):
            return dot
    raise BuildError(
        f"no instruction for {workload.data} x {workload.weight} products",
        fact=f"the machine's rows name {', '.join(sorted(machine.instructions)) or 'none'}",
        source="hago/codegen/intrin/dot.py and neon.py",
        way_out="Name one of " + ", ".join(d.name for d in DOTS) + " in the spec.",
    )


def _multiplies(dot: Dot, workload: Conv2d | Matmul | BatchMatmul) -> bool:
    """Integers may be widened on the way to an instruction, floats may not."""
    is_depthwise = isinstance(workload, Conv2d) and workload.is_depthwise
    if is_depthwise and (dot.rows > 1 or dot.sums > 1):
        return False
    if dot.accum != workload.accum or dot.proof not in ("", workload.weight):
        return False
    if workload.accum != "int32":
        return dot.data == storage(workload.data)
    weight = PROVEN.get(workload.weight, workload.weight)
    return np.can_cast(workload.data, dot.data) and np.can_cast(weight, dot.weight)
