"""Which template computes a workload on a machine: a table, the preferred row first."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hago.codegen.cuda.device import Device, device_of
from hago.codegen.epilogue import Epilogue
from hago.codegen.fold import fold
from hago.codegen.kernels.attention import attends, build_attention
from hago.codegen.kernels.batch_matmul import (
    batch_matmul_blockings,
    build_batch_matmul,
    multiplies_batches,
)
from hago.codegen.kernels.batch_matmul_amx import (
    batch_matmul_cuts,
    batch_matmul_fills_tiles,
    build_batch_matmul_amx,
)
from hago.codegen.kernels.conv_amx import build_conv_amx, conv_cuts, conv_fills_tiles
from hago.codegen.kernels.conv_dense import build_dense_conv, conv_schedules
from hago.codegen.kernels.depthwise import build_depthwise, row_tiles
from hago.codegen.kernels.depthwise_int8 import band_tiles, build_depthwise_int8
from hago.codegen.kernels.elementwise import build_elementwise
from hago.codegen.kernels.group_norm import build_group_norm
from hago.codegen.kernels.grouped_matmul import build_grouped_matmul, multiplies_groups
from hago.codegen.kernels.matmul import build_matmul, matmul_blockings
from hago.codegen.kernels.matmul_amx import build_matmul_amx, matmul_cuts, matmul_fills_tiles
from hago.codegen.kernels.matmul_nibbles import build_matmul_nibbles, reads_nibbles
from hago.codegen.kernels.pool import build_pool
from hago.codegen.kernels.reduce import build_row_reduce
from hago.codegen.kernels.table import build_table, looks_up
from hago.codegen.kernels.transpose import build_transpose, transposes
from hago.codegen.schedule import Schedule
from hago.codegen.select import choose_dot, has_dot
from hago.codegen.workload import (
    PROVEN,
    Attention,
    BatchMatmul,
    Conv2d,
    Elementwise,
    GroupedMatmul,
    GroupNorm,
    Kernel,
    Machine,
    Matmul,
    Permute,
    Pool2d,
    RowReduce,
    Table,
    Workload,
)
from hago.errors import BuildError
from hago.hardware.host import kernels_of
from hago.hardware.spec import HardwareSpec
from hago.lower.extensions import check_extensions
from hago.lower.select_gpu import GPU_TEMPLATES
from hago.lower.template import Template, always

# Bytes and number of the vector registers, by CPU feature, the widest first.
_REGISTERS = {"avx512f": (64, 32), "avx2": (32, 16), "asimd": (16, 32)}
_FUSED = ("vfmadd", "fmla")  # the instructions that multiply and add float32
_KEPT = 256  # kernels; networks have up to a hundred, which several precisions share


def machine_of(spec: HardwareSpec) -> Machine | Device:
    """What templates may use on ``spec``. Raises BuildError for machines without kernels, SpecError
    where the compiler's target lacks an instruction of a row: LLVM would end the process."""
    spec = kernels_of(spec)
    if spec.is_gpu:
        return device_of(spec)
    for feature, (size, count) in _REGISTERS.items():
        if feature in spec.features and spec.target.get("kind") == "llvm":
            check_extensions(spec)
            rows = frozenset(row.intrinsic for row in spec.ops if row.intrinsic)
            return Machine(size, rows, count, _cycles(spec, size))
    raise BuildError(
        f"{spec.name}: no code generation for this machine",
        fact=f"its target is {spec.target.get('kind')}, its features are "
        f"{', '.join(spec.features) or 'unknown'}",
        source=f"there are kernels for GPUs, and for CPUs that need one of {', '.join(_REGISTERS)}",
        way_out="Choose another machine of 'hago spec list', or use 'hago inspect'.",
    )


def _cycles(spec: HardwareSpec, vector_bytes: int) -> float:
    """Cycles of a product of vectors: those of float32, which no machine splits."""
    operations = 2 * vector_bytes // np.dtype("float32").itemsize
    rates = (row.throughput for row in spec.rows("matmul") if row.intrinsic in _FUSED)
    return operations / next((rate for rate in rates if rate), 2 * operations)


def find_template(workload: Workload, machine: Machine | Device) -> Template | None:
    """The preferred template for ``workload``; None if TVM has to compute it."""
    templates = GPU_TEMPLATES if isinstance(machine, Device) else TEMPLATES
    return next(
        (
            template
            for template in templates
            if isinstance(workload, template.kind) and template.applies(workload, machine)
        ),
        None,
    )


def schedules(workload: Workload, machine: Machine | Device) -> tuple[Schedule, ...]:
    """What is worth a measurement for the kernel of ``workload``, the template's own choice first;
    nothing where there is no choice."""
    template = find_template(workload, machine)
    if template is None or template.schedules is None:
        return ()
    return template.schedules(workload, machine)


@lru_cache(_KEPT)
def build_kernel(
    workload: Workload,
    epilogue: Epilogue,
    machine: Machine | Device,
    schedule: Schedule | None = None,
) -> Kernel:
    """The kernel of ``workload`` with ``epilogue``, which must have a template: by ``schedule``,
    one of its :func:`schedules`, or as the template chooses."""
    template = find_template(workload, machine)
    assert template is not None, workload
    return template.kernel(workload, fold(epilogue), machine, schedule)


def _is_depthwise(workload: Conv2d, machine: Machine) -> bool:
    """Integer products are of bytes in every kernel."""
    is_integer = workload.accum == "int32"
    are_bytes = not is_integer or workload.weight in ("int8", "uint8", *PROVEN)
    return workload.is_depthwise and are_bytes


def _is_depthwise_on_codes(workload: Conv2d, machine: Machine) -> bool:
    """Rows are interleaved as unsigned bytes: the instruction reads them as what they are, or as
    wider integers of the same value."""
    if not workload.is_depthwise or workload.accum != "int32" or not has_dot(workload, machine):
        return False
    dot = choose_dot(workload, machine)
    return dot.depth > 1 and workload.data in ("uint8", dot.data)


def _attends_without_tiles(workload: Attention, machine: Machine) -> bool:
    """Products for AMX tiles stay alone: what the kernel is made of is computed in vectors."""
    products = (workload.scores, workload.contexts)
    tiled = any(batch_matmul_fills_tiles(each.packed, machine) for each in products)
    return not tiled and attends(workload, machine)


TEMPLATES: tuple[Template, ...] = (
    # 1.9 to 3.8 times as fast as the widening template on VNNI, 1.0 to 2.2 times elsewhere.
    Template(Conv2d, _is_depthwise_on_codes, build_depthwise_int8, band_tiles),
    Template(Conv2d, _is_depthwise, build_depthwise, row_tiles),
    # AMX where the machine's rows name it, and where tiles take fewer cycles than vectors do:
    # not for a few rows, nor for reductions of a few words (hago/codegen/kernels/cut_amx.py).
    # A few rows of 4-bit weights are bound by reading these, whatever multiplies them.
    Template(Matmul, reads_nibbles, build_matmul_nibbles),
    Template(GroupedMatmul, multiplies_groups, build_grouped_matmul),
    Template(Conv2d, conv_fills_tiles, build_conv_amx, conv_cuts),
    Template(Matmul, matmul_fills_tiles, build_matmul_amx, matmul_cuts),
    Template(BatchMatmul, batch_matmul_fills_tiles, build_batch_matmul_amx, batch_matmul_cuts),
    Template(Conv2d, has_dot, build_dense_conv, conv_schedules),
    Template(Matmul, has_dot, build_matmul, matmul_blockings),
    Template(BatchMatmul, multiplies_batches, build_batch_matmul, batch_matmul_blockings),
    Template(Attention, _attends_without_tiles, build_attention),
    Template(Pool2d, always, build_pool),
    Template(RowReduce, always, build_row_reduce),
    Template(GroupNorm, always, build_group_norm),
    Template(Elementwise, always, build_elementwise),
    Template(Table, looks_up, build_table),
    Template(Permute, transposes, build_transpose),
)
