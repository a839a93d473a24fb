"""Pooling: the geometry of include/hago/pool.cuh."""

from __future__ import annotations

import numpy as np

from hago.codegen.cuda.device import Device
from hago.codegen.cuda.operations import C_TYPES, number
from hago.codegen.cuda.shell import Body, Launch, build_shell, constants, lanes_of
from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import Kernel, Pool2d

_THREADS = 128
_SLICES = 16  # threads that share a window where
_LARGE = 32  # it has this many elements


def build_pool(workload: Pool2d, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(data [n,h,w,c], *operands, output [n,oh,ow,c])``."""
    shape, lanes = workload.output_shape, lanes_of(workload.c, 4)
    slices = _SLICES if workload.window[0] * workload.window[1] >= _LARGE else 1
    items, at_once = shape[0] * shape[1] * shape[2] * (workload.c // lanes), _THREADS // slices
    join = "Largest" if workload.kind == "max" else "Total"
    body = Body(
        "pool.cuh",
        _geometry(workload, lanes, slices),
        f"hago::pool<Geometry, hago::{join}<Geometry>>(data, epilogue, "
        f"{'shared' if slices > 1 else 'nullptr'});",
    )
    shared = _THREADS * lanes * np.dtype(workload.accum).itemsize if slices > 1 else 0
    data = ("data", ((workload.n, workload.h, workload.w, workload.c), workload.data))
    name = f"{workload.kind}_pool2d"
    launch = Launch(-(-items // at_once), _THREADS, shared)
    return Kernel(build_shell(name, [data], epilogue, shape, launch, body), None, name)


def _geometry(workload: Pool2d, lanes: int, slices: int) -> str:
    n, oh, ow, c = workload.output_shape
    values = {
        "ROWS": n * oh * ow, "OUT_H": oh, "OUT_W": ow, "IN_H": workload.h, "IN_W": workload.w,
        "CHANNELS": c, "LANES": lanes, "SLICES": slices, "THREADS": _THREADS,
        "WINDOW_H": workload.window[0], "WINDOW_W": workload.window[1],
        "STRIDE_H": workload.strides[0], "STRIDE_W": workload.strides[1],
        "TOP": workload.padding[0], "LEFT": workload.padding[1],
        "PADDED": int(any(workload.padding)),
    }  # fmt: skip
    types = {"Data": C_TYPES[workload.data], "Sum": C_TYPES[workload.accum]}
    return constants("Geometry", values, types, {"Sum neutral()": _neutral(workload)})


def _neutral(workload: Pool2d) -> str:
    if workload.kind != "max":
        return "0"
    if workload.accum == "float32":
        return number(float(np.finfo(np.float32).min))
    return str(int(np.iinfo(workload.accum).min))
