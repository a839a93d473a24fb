"""Convolutions by products: direct ones, or transformed where a model says that this pays."""

from __future__ import annotations

import math

import numpy as np

from hago.codegen.blocking import Blocking, product_cycles
from hago.codegen.epilogue import Epilogue
from hago.codegen.intrin.dot import Dot
from hago.codegen.kernels.conv import build_conv, conv_blockings
from hago.codegen.kernels.conv_winograd import (
    WinogradTile,
    build_conv_winograd,
    transformed_dot,
    transforms,
    winograd_tiles,
)
from hago.codegen.select import choose_dot
from hago.codegen.squares import Squares, elements
from hago.codegen.winograd import POINTS
from hago.codegen.workload import Conv2d, Kernel, Machine

ConvSchedule = Blocking | WinogradTile
# Cycles of one vector, with its loads and stores: B' x B of inputs, A' s A of outputs.
_INPUT, _OUTPUT = 40, 30
_BYTES = 6  # of weights that arrive from memory in a cycle
# Of the time: transformed weights are 1.8 (3.6 of bytes) times as large, which less is not worth.
_GAIN = 0.85


def conv_schedules(workload: Conv2d, machine: Machine) -> tuple[ConvSchedule, ...]:
    """What :func:`build_dense_conv` may be asked for, its own choice first."""
    direct: tuple[ConvSchedule, ...] = conv_blockings(workload, machine)
    if not transforms(workload, machine):
        return direct
    transformed = winograd_tiles(workload, machine)
    return (*transformed, *direct) if _pays(workload, machine) else (*direct, *transformed)


def build_dense_conv(
    workload: Conv2d, epilogue: Epilogue, machine: Machine, schedule: ConvSchedule | None = None
) -> Kernel:
    """``func(data [n,h,w,ci], packed weights, *operands, output [n,oh,ow,co])``."""
    if isinstance(schedule, Blocking):
        return build_conv(workload, epilogue, machine, schedule)
    if schedule is None and not (transforms(workload, machine) and _pays(workload, machine)):
        return build_conv(workload, epilogue, machine)
    return build_conv_winograd(workload, epilogue, machine, schedule)


def _pays(workload: Conv2d, machine: Machine) -> bool:
    direct, transformed = choose_dot(workload, machine), transformed_dot(workload, machine)
    assert transformed is not None, workload
    squares, (ci, co) = Squares.of(workload).count, (workload.ci, workload.co)
    pixels = math.prod(workload.output_shape[:3])
    cycles = _cycles(transformed, squares, POINTS * ci * co, machine)
    cycles += squares * _INPUT * ci / elements(transformed, machine)
    cycles += squares * _OUTPUT * co / machine.lanes
    return cycles < _GAIN * _cycles(direct, pixels, 9 * ci * co, machine)


def _cycles(dot: Dot, rows: int, weights: int, machine: Machine) -> float:
    """Of ``rows`` products with each of ``weights``, and of reading these."""
    products = rows * weights / (machine.lanes * dot.depth)
    return products * product_cycles(dot) + weights * np.dtype(dot.weight).itemsize / _BYTES
