"""Schedules of loops that TVM generated: threads over outer axes, vectors over the inner one."""

from __future__ import annotations

from typing import Any

from tvm import ir, s_tir
from tvm import tirx as tir

from hago.lower.cost import is_kernel, read_cost

_LEAST_BYTES = 64 << 10  # below this a second thread costs more than it does
_TASKS = 16  # of a parallel loop: they divide well among a few threads
_ROOT = "root"  # the block around loops
_SPATIAL, _REDUCTION = 0, 2  # tirx.IterVar.DataPar and CommReduce


def schedule_rest(module: ir.IRModule, lanes: int) -> ir.IRModule:
    """``module`` with every PrimFunc that is no kernel of ours scheduled, ``lanes`` a vector."""
    scheduled = module.clone()
    for var, function in module.functions_items():
        if isinstance(function, tir.PrimFunc) and not is_kernel(function):
            scheduled.update_func(var, schedule(function, lanes))
    return scheduled


def schedule(function: tir.PrimFunc, lanes: int) -> tir.PrimFunc:
    """``function`` (blocks of the S-TIR form) with its spatial loops in parallel and in vectors.

    A reduction keeps its order of additions, so results stay the same to the bit. What only calls
    TVM's runtime (sorting) has no loops.
    """
    if function.body.block.name_hint != _ROOT:
        return function
    plan = s_tir.Schedule(ir.IRModule({"main": function}))
    is_large = read_cost(function).bytes >= _LEAST_BYTES
    for block in plan.get_child_blocks(plan.get_sblock(_ROOT)):
        _schedule_block(plan, block, lanes, is_large)
    return plan.mod["main"].with_attrs(function.attrs)


def _schedule_block(plan: Any, block: Any, lanes: int, is_large: bool) -> None:
    loops = plan.get_loops(block)
    kinds = [int(var.iter_type) for var in plan.get(block).iter_vars]
    if len(loops) != len(kinds) or not loops:
        return
    spatial = [loop for loop, kind in zip(loops, kinds, strict=True) if kind == _SPATIAL]
    if any(kind not in (_SPATIAL, _REDUCTION) for kind in kinds) or not spatial:
        return
    *outer, inner = spatial
    reductions = [loop for loop in loops if loop not in spatial]
    chunk, *vector = _vectors(plan, inner, 1 if _reads_truths(plan.get(block)) else lanes)
    plan.reorder(*outer, chunk, *reductions, *vector)
    for loop in vector:
        plan.vectorize(loop)
    # A plain copy without vectors of ours keeps its inner loop for LLVM's.
    parallel = [*outer, chunk] if vector or reductions else outer
    if is_large and parallel:
        plan.parallel(plan.fuse(*_enough(plan, parallel)))


def _reads_truths(block: Any) -> bool:
    """Whether ``block`` reads truths from memory. In TVM's vectors these are bytes, which other
    truths are not: a negation makes 254 of 1, a comparison or a choice does not compile."""
    return any(str(region.source.dtype) == "bool" for region in block.reads)


def _enough(plan: Any, loops: list[Any]) -> list[Any]:
    """The outermost of ``loops`` that together have tasks for all threads."""
    tasks = 1
    for number, loop in enumerate(loops, start=1):
        tasks *= int(plan.get(loop).extent)
        if tasks >= _TASKS:
            return loops[:number]
    return loops


def _vectors(plan: Any, loop: Any, lanes: int) -> list[Any]:
    """``loop`` as chunks and a vector; the loop itself where its extent is no multiple of half of
    one."""
    extent = int(plan.get(loop).extent)
    for wide in (lanes, lanes // 2):
        if wide > 1 and extent % wide == 0:
            return list(plan.split(loop, [None, wide]))
    return [loop]
