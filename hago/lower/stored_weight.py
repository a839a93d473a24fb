"""Products with weights that are stored as nibbles, where a GPU makes 8-bit floats of them itself.

    matmul(x, float8(codes * scale))    x of 8-bit floats, a scale for each so many rows of codes
    conv2d(x, float8(codes * scale))    a scale for each output channel
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from hago.codegen.workload import Conv2d, GroupedMatmul, Matmul, Workload
from hago.lower.group import Group
from hago.lower.stored_float8 import Stored, content
from hago.scheme import Floats

_LOWEST, _HIGHEST = -8, 7


def with_stored_weight(
    group: Group, stored: Mapping[bytes, Stored], supports: Callable[[Workload], bool]
) -> Group:
    """``group`` on codes and scales, if its weights are ``stored`` so and it is supported."""
    work, weight = group.workload, group.weight
    if not stored or not isinstance(weight, np.ndarray):
        return group
    found = stored.get(content(weight))
    if found is None or found.codes.shape != weight.shape or found.common != 1.0:
        return group
    if found.codes.min() < _LOWEST or found.codes.max() > _HIGHEST:
        return group
    spread = np.broadcast_to(found.scale, weight.shape)
    decoded, scales = _by_columns(work, spread) or _by_channels(work, spread) or (work, spread)
    if decoded is work or not supports(decoded):
        return group
    data = (*group.data, np.ascontiguousarray(scales, np.float32))
    return replace(group, workload=decoded, data=data, weight=found.codes)


def _by_columns(work: Workload, scales: Floats) -> tuple[Workload, Floats] | None:
    """A matrix product with its ``scales`` [k, n], each once."""
    if not isinstance(work, Matmul):
        return None
    changes = 1 + np.flatnonzero(np.any(scales[1:] != scales[:-1], axis=1))
    size = math.gcd(work.k, *changes.tolist())
    return GroupedMatmul(work.m, work.n, work.k, size, work.data, "int4"), scales[::size]


def _by_channels(work: Workload, scales: Floats) -> tuple[Workload, Floats] | None:
    """A convolution with its ``scales`` [co, kh, kw, ci], if a channel has one."""
    if not isinstance(work, Conv2d) or np.any(scales != scales[:, :1, :1, :1]):
        return None
    return replace(work, weight="int4"), scales[None, :, 0, 0, 0]
