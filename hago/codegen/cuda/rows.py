"""What needs the whole of a row: the geometry of include/hago/rows.cuh."""

from __future__ import annotations

from hago.codegen.cuda.device import Device
from hago.codegen.cuda.operations import C_TYPES, number
from hago.codegen.cuda.shell import Body, Launch, build_shell, constants, lanes_of
from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import Kernel, RowReduce

_WARP, _BLOCK_WARPS, _MOST_WARPS = 32, 4, 32
_HELD = 32  # elements of a row that a thread keeps in registers


def fits_registers(workload: RowReduce, device: Device) -> bool:
    """Whether the warps of one block can hold a row."""
    return workload.length <= _MOST_WARPS * _WARP * _HELD


def build_rows(workload: RowReduce, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(data [rows, length], [gamma, [beta,]] *operands, output)``."""
    warps = _warps(workload.length)
    block = max(warps, _BLOCK_WARPS)
    values = {
        "ROWS": workload.rows, "LENGTH": workload.length, "LANES": lanes_of(workload.length, 4),
        "WARPS": warps, "BLOCK_WARPS": block,
    }  # fmt: skip
    types = {"Data": C_TYPES[workload.data], "Sum": C_TYPES[workload.accum]}
    affine = workload.parameters
    given = ", ".join(("data", *affine, *([number(workload.epsilon)] if affine else [])))
    body = Body(
        "rows.cuh",
        constants("Geometry", values, types),
        f"hago::{workload.kind}<Geometry>({given}, epilogue, shared);",
    )
    data = ((workload.rows, workload.length), workload.data)
    inputs = [("data", data), *((name, ((workload.length,), "float32")) for name in affine)]
    launch = Launch(-(-workload.rows // (block // warps)), block * _WARP, block * 4)
    func = build_shell(workload.kind, inputs, epilogue, workload.output_shape, launch, body)
    return Kernel(func, None, workload.kind)


def _warps(length: int) -> int:
    """Warps a row: one where its lanes can hold it; else all that a block has."""
    if length <= _WARP * _HELD:
        return 1
    return next(w for w in (_BLOCK_WARPS, 8, 16, _MOST_WARPS) if length <= w * _WARP * _HELD)
