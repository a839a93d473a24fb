"""Depthwise convolutions: the geometry of include/hago/depthwise.cuh."""

from __future__ import annotations

import numpy as np
from tvm import tirx as tir

from hago.codegen.cuda.device import Device
from hago.codegen.cuda.operations import C_TYPES
from hago.codegen.cuda.shell import Body, Launch, build_shell, constants, lanes_of
from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import PROVEN, Array, Conv2d, Kernel

_THREADS = 128
_DEPTH = 4  # products of a DP4A


def is_depthwise(workload: Conv2d, device: Device) -> bool:
    return workload.is_depthwise


def sums_by_dp4a(workload: Conv2d, device: Device) -> bool:
    """Whether DP4A takes it: signed bytes, whole words of channels, taps side by side in a word."""
    is_signed = workload.data == "int8" and _weight(workload) == "int8"
    is_whole = workload.ci % _DEPTH == 0
    return workload.is_depthwise and is_signed and is_whole and "dp4a" in device.instructions


def build_depthwise_dp4a(workload: Conv2d, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(data [n,h,w,c], packed weights, *operands, output [n,oh,ow,c])``."""
    outputs = dp4a_outputs(workload)
    shape = packed_shape(workload, outputs)
    body = Body(
        "depthwise.cuh",
        _geometry(workload, outputs, _DEPTH, {"WORDS": shape[3]}, {}),
        "hago::depthwise_dp4a<Geometry>(data, weight, epilogue);",
    )
    return Kernel(
        _shell(workload, epilogue, (shape, "int8"), outputs, _DEPTH, body),
        lambda weight: pack_words(workload, weight, outputs),
        "depthwise_conv2d",
    )


def build_depthwise(workload: Conv2d, epilogue: Epilogue, device: Device) -> Kernel:
    """The same for other element types."""
    outputs = 4 if workload.strides[1] == workload.dilation[1] == 1 else 2
    lanes = lanes_of(workload.ci, 4)
    shape = (workload.kh, workload.kw, workload.ci)
    c_types = (workload.accum, workload.data, _weight(workload))
    types = dict(zip(("Sum", "Data", "Weight"), map(C_TYPES.__getitem__, c_types), strict=True))
    body = Body(
        "depthwise.cuh",
        _geometry(workload, outputs, lanes, {}, types),
        "hago::depthwise<Geometry>(data, weight, epilogue);",
    )
    func = _shell(workload, epilogue, (shape, _weight(workload)), outputs, lanes, body)
    return Kernel(func, lambda weight: weight[..., 0].transpose(1, 2, 0), "depthwise_conv2d")


def dp4a_outputs(workload: Conv2d) -> int:
    """Neighbouring pixels a thread: as many as the words have that one window needs."""
    if workload.dilation[1] > 1:
        return 1
    pixels = -(-workload.kw // _DEPTH) * _DEPTH
    return (pixels - workload.kw) // workload.strides[1] + 1


def packed_shape(workload: Conv2d, outputs: int) -> tuple[int, int, int, int, int, int]:
    """``[channels / 4, kh, outputs, words, 4 channels, 4 taps]``."""
    starts = [p * workload.strides[1] % _DEPTH for p in range(outputs)]
    words = -(-(max(starts) + workload.kw) // _DEPTH)
    return workload.ci // _DEPTH, workload.kh, outputs, words, _DEPTH, _DEPTH


def pack_words(workload: Conv2d, weight: Array, outputs: int) -> Array:
    """OHWI weights as words of taps, each output's shifted to where its window begins."""
    shape = packed_shape(workload, outputs)
    packed = np.zeros((*shape[:3], shape[3] * _DEPTH, _DEPTH), np.int8)  # taps before channels
    taps = weight[..., 0].reshape(shape[0], _DEPTH, workload.kh, workload.kw)
    for p in range(outputs):
        start = p * workload.strides[1] % _DEPTH
        packed[:, :, p, start : start + workload.kw] = taps.transpose(0, 2, 3, 1)
    return packed.reshape(*shape[:4], _DEPTH, _DEPTH).swapaxes(-1, -2).copy()


def _weight(workload: Conv2d) -> str:
    return PROVEN.get(workload.weight, workload.weight)


def _geometry(
    workload: Conv2d, outputs: int, lanes: int, more: dict[str, int], types: dict[str, str]
) -> str:
    n, oh, ow, c = workload.output_shape
    values = {
        "ROWS": n * oh, "OUT_H": oh, "OUT_W": ow, "IN_H": workload.h, "IN_W": workload.w,
        "CHANNELS": c, "LANES": lanes, "OUTPUTS": outputs, "THREADS": _THREADS,
        "KH": workload.kh, "KW": workload.kw,
        "STRIDE_H": workload.strides[0], "STRIDE_W": workload.strides[1],
        "DILATION_H": workload.dilation[0], "DILATION_W": workload.dilation[1],
        "TOP": workload.padding[0], "LEFT": workload.padding[1], "FILL": workload.pad_code % 256,
        **more,
    }  # fmt: skip
    return constants("Geometry", values, types)


def _shell(
    workload: Conv2d,
    epilogue: Epilogue,
    weight: tuple[tuple[int, ...], str],
    outputs: int,
    lanes: int,
    body: Body,
) -> tir.PrimFunc:
    n, oh, ow, c = workload.output_shape
    items = n * oh * -(-ow // outputs) * (c // lanes)
    data = ("data", ((workload.n, workload.h, workload.w, workload.ci), workload.data))
    return build_shell(
        "depthwise_conv2d", [data, ("weight", weight)], epilogue, workload.output_shape,
        Launch(-(-items // _THREADS), _THREADS), body,
    )  # fmt: skip
