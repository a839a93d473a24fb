"""Which template computes a workload on a GPU: a table, the preferred row first."""

from __future__ import annotations

from hago.codegen.cuda.product import build_conv, build_matmul, multiplies
from hago.codegen.workload import Conv2d, Matmul
from hago.lower.template import Template

GPU_TEMPLATES: tuple[Template, ...] = (
    Template(Conv2d, multiplies, build_conv),
    Template(Matmul, multiplies, build_matmul),
)
