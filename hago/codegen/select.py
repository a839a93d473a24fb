"""Which instruction computes a workload on a machine."""

from __future__ import annotations

from hago.codegen.intrin.dot import DOTS, NARROW, Dot
from hago.codegen.vector import storage
from hago.codegen.workload import BatchMatmul, Conv2d, Machine, Matmul
from hago.errors import BuildError


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
        source="hago/codegen/intrin/dot.py",
        way_out="Name one of " + ", ".join(d.name for d in (*DOTS, NARROW)) + " in the spec.",
    )


def _multiplies(dot: Dot, workload: Conv2d | Matmul | BatchMatmul) -> bool:
    """Integers may be widened on the way to an instruction, floats may not."""
    is_integer = workload.accum == "int32"
    return dot.accum == workload.accum and (is_integer or dot.data == storage(workload.data))
