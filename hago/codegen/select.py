"""Which instruction computes a workload on a machine."""

from __future__ import annotations

import numpy as np

from hago.codegen.intrin import dot as x86
from hago.codegen.intrin import neon
from hago.codegen.intrin.dot import NARROW, Dot
from hago.codegen.vector import storage
from hago.codegen.workload import BatchMatmul, Conv2d, Machine, Matmul
from hago.errors import BuildError

DOTS = (*x86.DOTS, *neon.DOTS)


def choose_dot(workload: Conv2d | Matmul | BatchMatmul, machine: Machine) -> Dot:
    """The machine's preferred instruction for the workload's element types.

    Weights declared ``int7`` are proven to fit VPMADDUBSW's saturating pairs. Raises BuildError
    where the machine has no instruction for the types.
    """
    if workload.weight == "int7" and NARROW.name in machine.instructions:
        return NARROW
    for dot in DOTS:
        if dot.name in machine.instructions and _multiplies(dot, workload):
            return dot
    raise BuildError(
        f"no instruction for {workload.data} x {workload.weight} products",
        fact=f"the machine's rows name {', '.join(sorted(machine.instructions)) or 'none'}",
        source="hago/codegen/intrin/dot.py and neon.py",
        way_out="Name one of " + ", ".join(d.name for d in (*DOTS, NARROW)) + " in the spec.",
    )


def _multiplies(dot: Dot, workload: Conv2d | Matmul | BatchMatmul) -> bool:
    """Integers may be widened on the way to an instruction, floats may not."""
    is_depthwise = isinstance(workload, Conv2d) and workload.is_depthwise
    if dot.accum != workload.accum or (is_depthwise and dot.rows > 1):
        return False
    if workload.accum != "int32":
        return dot.data == storage(workload.data)
    weight = "int8" if workload.weight == "int7" else workload.weight
    return np.can_cast(workload.data, dot.data) and np.can_cast(weight, dot.weight)
