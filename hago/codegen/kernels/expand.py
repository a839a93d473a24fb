"""Weights computed in an 8-bit float, from the codes that they are stored as:

    out[o, g, r, l] = common * round(codes[o, g, r, l] * scale[o, g, l])

``o`` counts blocks of packed weights, ``g`` groups of reduction elements, ``l`` channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from tvm import tirx as tir
from tvm.script.ir_builder import tirx as T

from hago.codegen import vector as v
from hago.codegen.access import flat, store, vector
from hago.codegen.float8 import round_float8
from hago.codegen.kernels.product import arguments, kernel
from hago.float8 import round_float8 as round_numpy
from hago.scheme import Array, Floats


@dataclass(frozen=True)
class Expansion:
    """The geometry [outer, groups, run, lanes], the ``kind`` of 8-bit float, and the power of two
    behind it."""

    outer: int
    groups: int
    run: int
    lanes: int
    kind: str
    common: float

    @property
    def scales(self) -> tuple[int, int, int]:
        """The shape of the scales."""
        return self.outer, self.groups, self.lanes


def expansion_of(scales: Array, kind: str, common: float) -> Expansion:
    """The geometry of packed ``scales`` [.., steps, lanes, 1] that change at some of the steps."""
    *outer, steps, lanes, _ = scales.shape
    rows = scales.reshape(-1, steps, lanes)
    changes = 1 + np.flatnonzero(np.any(rows[:, 1:] != rows[:, :-1], axis=(0, 2)))
    run = math.gcd(steps, *changes.tolist())
    return Expansion(math.prod(outer), steps // run, run, lanes, kind, common)


def expand(form: Expansion, codes: Array, scales: Array) -> Floats:
    """The numpy meaning: values in the order of packed ``codes``."""
    shaped = codes.reshape(form.outer, form.groups, form.run, form.lanes).astype(np.float32)
    scaled = (shaped * scales.reshape(form.scales)[:, :, None]).astype(np.float32)
    values: Floats = round_numpy(scaled, form.kind) * np.float32(form.common)
    return values


def build_expand(form: Expansion, shape: tuple[int, ...]) -> tir.PrimFunc:
    """``func(codes int8, scales, output float32)``; codes and output have ``shape``."""
    lanes, run = form.lanes, form.run
    types = [(shape, "int8"), (form.scales, "float32"), (shape, "float32")]
    with kernel("expand") as builder:
        codes, scales, output = map(flat, arguments("codes scales output", types))
        with T.parallel(0, form.outer * form.groups) as group:
            scale = T.Bind(vector(scales, group * lanes, lanes))
            with T.serial(0, run) as step:
                place = T.Bind((group * run + step) * lanes)
                real = v.cast(vector(codes, place, lanes), "float32")
                value = round_float8(v.bind(real * scale), form.kind)
                store(output, value * v.splat(form.common, value), place, lanes)
    return builder.get()
