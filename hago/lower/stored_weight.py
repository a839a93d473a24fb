"""Products with weights that are stored as nibbles, where a GPU makes 8-bit floats of them itself.

    matmul(x, float8(codes * scale))    x of 8-bit floats, a scale for each so many rows of codes
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from hago.codegen.workload import GroupedMatmul, Matmul, Workload
from hago.lower.group import Group
from hago.lower.stored_float8 import Stored, content

_LOWEST, _HIGHEST = -8, 7


def with_stored_weight(
    group: Group, stored: Mapping[bytes, Stored], supports: Callable[[Workload], bool]
) -> Group:
    """``group`` on codes and scales, if its weights are ``stored`` so and it is supported."""
    work, weight = group.workload, group.weight
    if not stored or not isinstance(work, Matmul) or not isinstance(weight, np.ndarray):
        return group
    found = stored.get(content(weight))
    if found is None or found.codes.shape != weight.shape or found.common != 1.0:
        return group
    if found.codes.min() < _LOWEST or found.codes.max() > _HIGHEST:
        return group
    scales = np.broadcast_to(found.scale, weight.shape)
    changes = 1 + np.flatnonzero(np.any(scales[1:] != scales[:-1], axis=1))
    size = math.gcd(work.k, *changes.tolist())
    decoded = GroupedMatmul(work.m, work.n, work.k, size, work.data, "int4")
    if not supports(decoded):
        return group
    data = (*group.data, np.ascontiguousarray(scales[::size], np.float32))
    return replace(group, workload=decoded, data=data, weight=found.codes)
