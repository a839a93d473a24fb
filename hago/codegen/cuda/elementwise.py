"""Elementwise expressions, tables of bytes and permutations: include/hago/elementwise.cuh."""

from __future__ import annotations

import math

import numpy as np

from hago.codegen.cuda.device import Device
from hago.codegen.cuda.operations import C_TYPES
from hago.codegen.cuda.shell import Body, Launch, build_shell, constants, lanes_of
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.elementwise import collapsed
from hago.codegen.workload import Elementwise, Kernel, Permute, Table

_THREADS = 256
_WORD, _SIDE = 16, 32  # bytes of the widest load; elements of a square that is turned
_CODES = 256


def is_typed(workload: Elementwise | Table | Permute, device: Device) -> bool:
    """Whether the elements have a C type."""
    return workload.data in C_TYPES


def transposes(workload: Permute, device: Device) -> bool:
    """Whether rows and columns change places, and there are enough of both for squares."""
    widths = workload.shape[-1], workload.output_shape[-1] if workload.shape else 0
    return workload.data in C_TYPES and workload.moves_last and min(widths) >= _SIDE // 4


def build_elementwise(workload: Elementwise, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(data, *operands, output)``, all of ``workload.shape`` or broadcast against it."""
    shape = workload.shape or (1,)
    logical = _logical(shape, epilogue)
    lanes = _lanes(logical[-1], workload.data, epilogue)
    body = Body(
        "elementwise.cuh",
        constants("Geometry", _sizes(logical, lanes), {"Data": C_TYPES[workload.data]}),
        "hago::elementwise<Geometry>(data, epilogue);",
    )
    func = build_shell(
        "elementwise", [("data", (workload.shape, workload.data))], epilogue, workload.shape,
        _launch(logical, lanes), body, logical,
    )  # fmt: skip
    return Kernel(func, None, "elementwise")


def build_table(workload: Table, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(data, table [256], *operands, output)``; ``table`` starts with the lowest code's."""
    shape = workload.shape or (1,)
    logical = _logical(shape, epilogue)
    lanes = _lanes(logical[-1], workload.data, epilogue)
    lowest = int(np.iinfo(workload.data).min)
    types = {"Data": C_TYPES[workload.data], "Entry": C_TYPES[workload.gives]}
    body = Body(
        "elementwise.cuh",
        constants("Geometry", {**_sizes(logical, lanes), "LOWEST": lowest}, types),
        "hago::look_up<Geometry>(data, table, epilogue, shared);",
    )
    inputs = [("data", (workload.shape, workload.data)), ("table", ((_CODES,), workload.gives))]
    launch = _launch(logical, lanes, _CODES)
    func = build_shell("table", inputs, epilogue, workload.shape, launch, body, logical)
    return Kernel(func, None, "table")


def build_gather(workload: Permute, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(data, *operands, output)``: each thread takes its elements from where they lie."""
    shape = workload.output_shape
    pitch = workload.stride(workload.axes[-1])
    lanes = _lanes(shape[-1], workload.data, epilogue) if pitch == 1 else 1
    values = {**_sizes(shape, lanes), "PITCH": pitch}
    body = Body(
        "elementwise.cuh",
        constants("Geometry", values, {"Data": C_TYPES[workload.data]}, _source(workload)),
        "hago::gather<Geometry>(data, epilogue);",
    )
    data = ("data", (workload.shape, workload.data))
    func = build_shell("permute", [data], epilogue, shape, _launch(shape, lanes), body)
    return Kernel(func, None, "permute")


def build_transpose(workload: Permute, epilogue: Epilogue, device: Device) -> Kernel:
    """``func(data, *operands, output)``: squares are turned in shared memory."""
    shape, last = workload.output_shape, len(workload.shape) - 1
    place = workload.axes.index(last)  # the axis of the output whose neighbours are in memory
    row_pitch = math.prod(shape[place + 1 : -1])
    width, channels = shape[place], shape[-1]
    values = {
        **_sizes(shape, 1), "PITCH": workload.stride(workload.axes[-1]), "WIDTH": width,
        "ROW_PITCH": row_pitch,
    }  # fmt: skip
    functions = {
        **_source(workload),
        "int first(int plane)":
            f"plane / {row_pitch} * {row_pitch * width} + plane % {row_pitch}",
    }  # fmt: skip
    body = Body(
        "elementwise.cuh",
        constants("Geometry", values, {"Data": C_TYPES[workload.data]}, functions),
        "hago::transpose<Geometry>(data, epilogue, shared);",
    )
    planes = math.prod(shape) // (width * channels)
    tiles = -(-width // _SIDE) * -(-channels // _SIDE)
    shared = _SIDE * (_SIDE + 4) * np.dtype(_storage(workload.data)).itemsize
    launch = Launch(planes * tiles, _THREADS, shared)
    data = ("data", (workload.shape, workload.data))
    func = build_shell("transpose", [data], epilogue, shape, launch, body)
    return Kernel(func, None, "transpose")


def _logical(shape: tuple[int, ...], epilogue: Epilogue) -> tuple[int, ...]:
    """One long row where every operand is the whole tensor or one number."""
    whole = collapsed(shape, epilogue)
    return (1, math.prod(shape)) if whole != shape else shape


def _lanes(length: int, data: str, epilogue: Epilogue) -> int:
    """Elements a thread: no more than two words of the widest that is read or written."""
    dtypes = (data, epilogue.dtype, *(operand.dtype for operand in epilogue.operands))
    widest = max(np.dtype(_storage(dtype)).itemsize for dtype in dtypes)
    return lanes_of(length, max(1, _WORD // widest))


def _storage(dtype: str) -> str:
    return "uint16" if dtype == "bfloat16" else dtype


def _sizes(shape: tuple[int, ...], lanes: int) -> dict[str, int]:
    rows = math.prod(shape[:-1])
    return {"ROWS": rows, "CHANNELS": shape[-1], "LANES": lanes, "THREADS": _THREADS}


def _launch(shape: tuple[int, ...], lanes: int, shared: int = 0) -> Launch:
    return Launch(-(-math.prod(shape) // (lanes * _THREADS)), _THREADS, shared)


def _source(workload: Permute) -> dict[str, str]:
    """The function that says where an output row begins in the input."""
    shape, terms = workload.output_shape, []
    for axis in range(len(shape) - 1):
        below, stride = math.prod(shape[axis + 1 : -1]), workload.stride(workload.axes[axis])
        terms.append(f"int64_t(row / {below} % {shape[axis]}) * {stride}")
    return {"int64_t source(int row)": " + ".join(terms) or "0"}
