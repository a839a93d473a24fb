"""Which template computes a workload on a GPU: a table, the preferred row first."""

from __future__ import annotations

from hago.codegen.cuda.depthwise import (
    build_depthwise,
    build_depthwise_dp4a,
    is_depthwise,
    sums_by_dp4a,
)
from hago.codegen.cuda.elementwise import (
    build_elementwise,
    build_gather,
    build_table,
    build_transpose,
    is_typed,
    transposes,
)
from hago.codegen.cuda.pool import build_pool
from hago.codegen.cuda.product import (
    build_batch_matmul,
    build_conv,
    build_grouped_matmul,
    build_matmul,
    decodes_channels,
    multiplies,
    multiplies_floats,
    multiplies_groups,
)
from hago.codegen.cuda.rows import build_rows, fits_registers
from hago.codegen.workload import (
    BatchMatmul,
    Conv2d,
    Elementwise,
    GroupedMatmul,
    Matmul,
    Permute,
    Pool2d,
    RowReduce,
    Table,
)
from hago.lower.template import Template, always

GPU_TEMPLATES: tuple[Template, ...] = (
    Template(Conv2d, sums_by_dp4a, build_depthwise_dp4a),
    Template(Conv2d, is_depthwise, build_depthwise),
    Template(Conv2d, decodes_channels, build_conv),
    Template(Conv2d, multiplies, build_conv),
    Template(Matmul, multiplies, build_matmul),
    Template(BatchMatmul, multiplies, build_batch_matmul),
    Template(GroupedMatmul, multiplies_groups, build_grouped_matmul),
    Template(Conv2d, multiplies_floats, build_conv),
    Template(Matmul, multiplies_floats, build_matmul),
    Template(BatchMatmul, multiplies_floats, build_batch_matmul),
    Template(Pool2d, always, build_pool),
    Template(RowReduce, fits_registers, build_rows),
    Template(Elementwise, is_typed, build_elementwise),
    Template(Table, is_typed, build_table),
    Template(Permute, transposes, build_transpose),
    Template(Permute, is_typed, build_gather),
)
