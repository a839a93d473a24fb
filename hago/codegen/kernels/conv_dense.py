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
from hago.codegen.winograd import FOUR, TWO, Transform
from hago.codegen.workload import Conv2d, Kernel, Machine

ConvSchedule = Blocking | WinogradTile
# Cycles of one vector, with its loads and stores: B' x B of inputs, A' s A of outputs.
_CYCLES = {TWO: (40, 30), FOUR: (200, 180)}
_BYTES = 6  # of weights that arrive from memory in a cycle
_UNHIDDEN = 1 / 3  # of products or of reading, whichever is less: the rest is behind the other
# Of the time: transformed weights are 1.8 times as large (of bytes 3.6, or 8 by F(4x4)), which less
# is not worth.
_GAIN = 0.85


def conv_schedules(workload: Conv2d, machine: Machine) -> tuple[ConvSchedule, ...]:
    """What :func:`build_dense_conv` may be asked for, its own choice first."""
    direct: tuple[ConvSchedule, ...] = conv_blockings(workload, machine)
    offered = transforms(workload, machine)
    if not offered:
        return direct
    best, *others = sorted(offered, key=lambda each: _share(workload, machine, each))
    transformed = [*winograd_tiles(workload, machine, best)]
    transformed += [winograd_tiles(workload, machine, other)[0] for other in others]
    pays = _share(workload, machine, best) < _GAIN
    return (*transformed, *direct) if pays else (*direct, *transformed)


def build_dense_conv(
    workload: Conv2d, epilogue: Epilogue, machine: Machine, schedule: ConvSchedule | None = None
) -> Kernel:
    """``func(data [n,h,w,ci], packed weights, *operands, output [n,oh,ow,co])``."""
    schedule = schedule or next(iter(conv_schedules(workload, machine)), None)
    if isinstance(schedule, WinogradTile):
        return build_conv_winograd(workload, epilogue, machine, schedule)
    return build_conv(workload, epilogue, machine, schedule)


def _share(workload: Conv2d, machine: Machine, transform: Transform) -> float:
    """Cycles of the transformed convolution over those of the direct one."""
    direct, transformed = choose_dot(workload, machine), transformed_dot(workload, machine)
    assert transformed is not None, workload
    squares, (ci, co) = Squares.of(workload, transform).count, (workload.ci, workload.co)
    pixels = math.prod(workload.output_shape[:3])
    of_inputs, of_outputs = _CYCLES[transform]
    cycles = _cycles(transformed, squares, transform.points * ci * co, machine)
    cycles += squares * of_inputs * ci / elements(transformed, machine)
    cycles += squares * of_outputs * co / machine.lanes
    return cycles / _cycles(direct, pixels, 9 * ci * co, machine)


def _cycles(dot: Dot, rows: int, weights: int, machine: Machine) -> float:
    """Of ``rows`` products with each of ``weights``, while these are read."""
    products = rows * weights / (machine.lanes * dot.depth) * product_cycles(dot, machine)
    reading = weights * np.dtype(dot.weight).itemsize / _BYTES
    return max(products, reading) + _UNHIDDEN * min(products, reading)
