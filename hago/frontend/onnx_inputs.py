"""The inputs of an ONNX graph, every dimension fixed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.helper

from hago.errors import ModelError
from hago.frontend.onnx_node import LARGEST


@dataclass(frozen=True)
class GraphInput:
    """One model input: its name in the file, static shape, and dtype as numpy spells it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


def fixed_inputs(
    graph: onnx.GraphProto, shapes: Mapping[str, Sequence[int]], path: Path
) -> tuple[GraphInput, ...]:
    """The graph's inputs in order, dynamic dimensions taken from `shapes`.

    Raises:
        ModelError: a shape for an input that does not exist, a shape that contradicts the model,
            a dimension that stays unknown, or one that is zero.
    """
    values = _runtime_inputs(graph)
    _check_names(shapes, [v.name for v in values], path)
    declared = {v.name: _declared_shape(v) for v in values}
    fixed = {name: _fix(name, dims, shapes.get(name), path) for name, dims in declared.items()}
    _check_all_known(fixed, declared, path)
    return tuple(GraphInput(v.name, _known(fixed[v.name]), _dtype(v, path)) for v in values)


def _runtime_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """Inputs without a default: older files list every initializer as an input too."""
    initialized = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in initialized]


def _check_names(shapes: Mapping[str, Sequence[int]], names: Sequence[str], path: Path) -> None:
    for given in shapes:
        if given in names:
            continue
        near = difflib.get_close_matches(given, names, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Its inputs are: {', '.join(names)}."
        raise ModelError(f"{path}: a shape is given for {given!r}, not an input", way_out=hint)


def _declared_shape(value: onnx.ValueInfoProto) -> tuple[int | str, ...] | None:
    """Sizes, with a name (or ``"?"``) for a dynamic one; None where the rank is unknown."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    return tuple(_size_or_name(dim) for dim in value.type.tensor_type.shape.dim)


def _size_or_name(dim: onnx.TensorShapeProto.Dimension) -> int | str:
    """Some exporters write -1 where they mean unknown."""
    is_size = dim.HasField("dim_value") and dim.dim_value >= 0
    return dim.dim_value if is_size else (dim.dim_param or "?")


def _fix(
    name: str,
    declared: tuple[int | str, ...] | None,
    given: Sequence[int] | None,
    path: Path,
) -> tuple[int | str, ...] | None:
    shape = declared if given is None else tuple(given)
    if given is not None and declared is not None and not _agree(declared, given):
        raise ModelError(
            f"{path}: input {name!r} cannot have the shape {_spell(tuple(given))}",
            fact=f"the model declares {_spell(declared)}",
            way_out="Keep the rank and the sizes that the model fixes.",
        )
    if shape is not None and any(isinstance(d, int) and d <= 0 for d in shape):
        raise ModelError(
            f"{path}: input {name!r} has a zero-size dimension",
            fact=_spell(shape),
            way_out="Every dimension must be at least 1.",
        )
    if shape is not None and math.prod(d for d in shape if isinstance(d, int)) > LARGEST:
        raise ModelError(
            f"{path}: input {name!r} is too large",
            fact=f"{_spell(shape)} has more than {LARGEST} elements, which kernels cannot index",
            way_out="Fix smaller sizes with --shape, or export the model with them.",
        )
    return shape


def _agree(declared: tuple[int | str, ...], given: Sequence[int]) -> bool:
    same_rank = len(declared) == len(given)
    return same_rank and all(
        isinstance(d, str) or d == g for d, g in zip(declared, given, strict=True)
    )


def _check_all_known(
    fixed: Mapping[str, tuple[int | str, ...] | None],
    declared: Mapping[str, tuple[int | str, ...] | None],
    path: Path,
) -> None:
    unknown = [n for n, s in fixed.items() if s is None or any(isinstance(d, str) for d in s)]
    if not unknown:
        return
    flags = [f"--shape {name}={_spell(declared[name], '<', '>')}" for name in unknown]
    raise ModelError(
        f"{path}: dimensions without a size in {', '.join(map(repr, unknown))}",
        fact="; ".join(f"{name} is {_spell(declared[name])}" for name in unknown),
        way_out=f"Give numbers for the names: {' '.join(flags)}",
    )


def _spell(shape: tuple[int | str, ...] | None, left: str = "", right: str = "") -> str:
    if shape is None:
        return f"{left}sizes{right}" if left else "of unknown rank"
    return "x".join(f"{left}{d}{right}" if isinstance(d, str) else str(d) for d in shape)


def _known(shape: tuple[int | str, ...] | None) -> tuple[int, ...]:
    assert shape is not None
    return tuple(int(d) for d in shape)


def _dtype(value: onnx.ValueInfoProto, path: Path) -> str:
    kind = value.type.tensor_type.elem_type
    if kind in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        raise ModelError(
            f"{path}: input {value.name!r} is not a numeric tensor",
            way_out="Cut the graph before it, for example with onnx.utils.extract_model.",
        )
    return str(onnx.helper.tensor_dtype_to_np_dtype(kind))
