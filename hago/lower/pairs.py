"""Weights proven to be so small that two products with bytes meet in 16 bits.

    |a b + c d| <= 2 * 128 * 127 < 2^15        a, c of int8; b, d in -127..127
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hago.codegen.workload import Conv2d, Matmul
from hago.lower.group import Group

_LARGEST = 127


def with_pairs(group: Group) -> Group:
    """``group`` with its constant int8 weights declared so, if they are."""
    work, weight = group.workload, group.weight
    if not isinstance(work, (Conv2d, Matmul)) or not isinstance(weight, np.ndarray):
        return group
    if weight.dtype != np.int8 or work.data != "int8" or weight.min() < -_LARGEST:
        return group
    return replace(group, workload=replace(work, weight="int8_pairs"))
