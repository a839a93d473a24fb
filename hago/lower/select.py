"""Which template computes a workload on a machine: a table, the preferred row first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hago.codegen.epilogue import Epilogue
from hago.codegen.fold import fold
from hago.codegen.kernels.batch_matmul import build_batch_matmul
from hago.codegen.kernels.batch_matmul_amx import batch_matmul_fills_tiles, build_batch_matmul_amx
from hago.codegen.kernels.conv import build_conv
from hago.codegen.kernels.conv_amx import build_conv_amx, conv_fills_tiles
from hago.codegen.kernels.depthwise import build_depthwise
from hago.codegen.kernels.depthwise_int8 import build_depthwise_int8
from hago.codegen.kernels.elementwise import build_elementwise
from hago.codegen.kernels.matmul import build_matmul
from hago.codegen.kernels.matmul_amx import build_matmul_amx, matmul_fills_tiles
from hago.codegen.kernels.pool import build_pool
from hago.codegen.kernels.reduce import build_row_reduce
from hago.codegen.kernels.table import build_table, looks_up
from hago.codegen.kernels.transpose import build_transpose, transposes
from hago.codegen.select import choose_dot
from hago.codegen.workload import (
    PROVEN,
    BatchMatmul,
    Conv2d,
    Elementwise,
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
from hago.hardware.spec import HardwareSpec

# Bytes and number of the vector registers, by CPU feature, the widest first.
_REGISTERS = {"avx512f": (64, 32), "avx2": (32, 16), "asimd": (16, 32)}


@dataclass(frozen=True)
class Template:
    """``build`` makes kernels for workloads of ``kind`` where ``applies``."""

    kind: type
    applies: Callable[[Any, Machine], bool]
    build: Callable[[Any, Epilogue, Machine], Kernel]


def machine_of(spec: HardwareSpec) -> Machine:
    """What templates may use on ``spec``. Raises BuildError for machines without kernels."""
    for feature, (size, count) in _REGISTERS.items():
        if feature in spec.features and spec.target.get("kind") == "llvm":
            rows = frozenset(row.intrinsic for row in spec.ops if row.intrinsic)
            return Machine(size, rows, count)
    raise BuildError(
        f"{spec.name}: no code generation for this machine",
        fact=f"its target is {spec.target.get('kind')}, its features are "
        f"{', '.join(spec.features) or 'unknown'}",
        source=f"there are kernels for CPUs that need one of {', '.join(_REGISTERS)}",
        way_out="Choose another machine of 'hago spec list', or use 'hago inspect'.",
    )


def find_template(workload: Workload, machine: Machine) -> Template | None:
    """The preferred template for ``workload``; None if TVM has to compute it."""
    return next(
        (
            template
            for template in TEMPLATES
            if isinstance(workload, template.kind) and template.applies(workload, machine)
        ),
        None,
    )


def build_kernel(workload: Workload, epilogue: Epilogue, machine: Machine) -> Kernel:
    """The kernel of ``workload`` with ``epilogue``, which must have a template."""
    template = find_template(workload, machine)
    assert template is not None, workload
    return template.build(workload, fold(epilogue), machine)


def _has_dot(workload: Conv2d | Matmul | BatchMatmul, machine: Machine) -> bool:
    if not _are_operands(workload):
        return False
    try:
        choose_dot(workload, machine)
    except BuildError:
        return False
    return True


def _is_depthwise(workload: Conv2d, machine: Machine) -> bool:
    return workload.is_depthwise and _are_operands(workload)


def _are_operands(workload: Conv2d | Matmul | BatchMatmul) -> bool:
    """Integer products are of bytes in every kernel."""
    is_integer = workload.accum == "int32"
    return not is_integer or workload.weight in ("int8", "uint8", *PROVEN)


def _is_depthwise_on_codes(workload: Conv2d, machine: Machine) -> bool:
    """Rows are interleaved as unsigned bytes: the instruction reads them as what they are, or as
    wider integers of the same value."""
    if not workload.is_depthwise or workload.accum != "int32" or not _has_dot(workload, machine):
        return False
    dot = choose_dot(workload, machine)
    return dot.depth > 1 and workload.data in ("uint8", dot.data)


def _always(workload: Workload, machine: Machine) -> bool:
    return True


TEMPLATES: tuple[Template, ...] = (
    # 1.9 to 3.8 times as fast as the widening template on VNNI, 1.0 to 2.2 times elsewhere.
    Template(Conv2d, _is_depthwise_on_codes, build_depthwise_int8),
    Template(Conv2d, _is_depthwise, build_depthwise),
    # AMX where the machine's rows name it, and where tiles take fewer cycles than vectors do:
    # not for a few rows, nor for reductions of a few words (hago/codegen/kernels/cut_amx.py).
    Template(Conv2d, conv_fills_tiles, build_conv_amx),
    Template(Matmul, matmul_fills_tiles, build_matmul_amx),
    Template(BatchMatmul, batch_matmul_fills_tiles, build_batch_matmul_amx),
    Template(Conv2d, _has_dot, build_conv),
    Template(Matmul, _has_dot, build_matmul),
    Template(BatchMatmul, _has_dot, build_batch_matmul),
    Template(Pool2d, _always, build_pool),
    Template(RowReduce, _always, build_row_reduce),
    Template(Elementwise, _always, build_elementwise),
    Template(Table, looks_up, build_table),
    Template(Permute, transposes, build_transpose),
)
