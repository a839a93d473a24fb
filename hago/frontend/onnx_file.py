"""An ONNX file on disk -> a checked `onnx.ModelProto`, or one clear `ModelError`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.checker
import onnx.helper
import onnx.inliner
import onnx.numpy_helper
import onnx.shape_inference
import onnx.version_converter
from google.protobuf.message import DecodeError

from hago.errors import ModelError
from hago.frontend.onnx_node import Array

OPSETS = range(11, 29)
# onnx's converter takes models of these to the first of OPSETS.
_OLDER = range(7, OPSETS[0])

# An infinity is a legitimate value where it masks or bounds; anywhere else it is a broken weight.
_INFINITY_IS_MEANT = frozenset({"Add", "Clip", "Concat", "Expand", "Max", "Min", "Mul", "Where"})


def load_model(path: Path) -> onnx.ModelProto:
    """The model in `path` with external data read, local functions inlined and weights checked,
    of an opset in `OPSETS`.

    Raises:
        ModelError: no such file, a directory, not ONNX, truncated, an opset before 7 or behind
            `OPSETS`, missing external data, or a weight that is not finite.
    """
    model = _read_external_data(_parse(_read_bytes(path), path), path)
    _check_opset(model, path)
    _check_structure(model.graph, path)
    _check_weights(model, path)
    if opset_of(model) in _OLDER:
        model = _converted(model, path)
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise ModelError(f"{path}: this is a directory", way_out="Give the path of an .onnx file.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot read the model",
            fact=error.strerror or str(error),
            way_out="Check the path and its permissions.",
        ) from error
    if not content:
        raise ModelError(f"{path}: the file is empty", way_out="Export the model again.")
    return content


def _parse(content: bytes, path: Path) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise _not_onnx(path, f"{len(content)} bytes that do not parse as an ONNX model") from error
    if not model.graph.node:
        raise _not_onnx(path, f"{len(content)} bytes with no graph nodes in them")
    return model


def _not_onnx(path: Path, fact: str) -> ModelError:
    return ModelError(
        f"{path}: not an ONNX model, or a truncated one",
        fact=fact,
        way_out="Copy or export the file again; hago reads binary .onnx files.",
    )


def _read_external_data(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path}: its external data cannot be read",
            fact=str(error).strip().splitlines()[0],
            way_out="Put the data file, complete, beside the model file.",
        ) from error
    return model


def _check_opset(model: onnx.ModelProto, path: Path) -> None:
    version = opset_of(model)
    if version in OPSETS or version in _OLDER:
        return
    raise ModelError(
        f"{path}: opset {version} is not supported",
        fact=f"hago reads opsets {_OLDER[0]} to {OPSETS[-1]}",
        way_out="Export with another opset, or use onnx.version_converter.convert_version.",
    )


def _converted(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """`model` in the first opset of `OPSETS`."""
    way_out = f"Export with an opset from {OPSETS[0]} to {OPSETS[-1]}."
    inner = [n for n in model.graph.node for a in n.attribute if a.HasField("g") or a.graphs]
    if inner:  # the converter leaves these graphs as they are
        raise ModelError(
            f"{path}: opset {opset_of(model)} cannot be converted to {OPSETS[0]}",
            fact=f"node {inner[0].name!r} ({inner[0].op_type}) has a graph of its own",
            way_out=way_out,
        )
    try:
        converted = onnx.version_converter.convert_version(model, OPSETS[0])
    except (
        RuntimeError,
        ValueError,
        onnx.shape_inference.InferenceError,
        onnx.version_converter.ConvertError,
    ) as error:
        raise ModelError(
            f"{path}: opset {opset_of(model)} cannot be converted to {OPSETS[0]}",
            fact=str(error).strip().splitlines()[-1],
            source="onnx.version_converter",
            way_out=way_out,
        ) from error
    for node in converted.graph.node:
        if node.op_type == "Resize":  # what Resize of opset 10 and Upsample are; the default is new
            node.attribute.extend(
                onnx.helper.make_attribute(name, value)
                for name, value in (
                    ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")
                )
            )  # fmt: skip
    return converted


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operator set that `model` uses, 0 if it names none."""
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    return max(versions, default=0)


def _check_structure(graph: onnx.GraphProto, path: Path) -> None:
    """Every value is made before it is read; `onnx.checker` also refuses what loads everywhere."""
    known = {""} | {t.name for t in graph.initializer} | {v.name for v in graph.input}
    missing = []
    for node in graph.node:
        label = node.name or ", ".join(node.output)
        missing += [f"{name!r} for node {label!r}" for name in node.input if name not in known]
        known.update(node.output)
    missing += [f"output {v.name!r}" for v in graph.output if v.name not in known]
    if missing:
        raise ModelError(
            f"{path}: the graph is broken",
            fact=f"nothing makes {'; '.join(missing[:5])}",
            way_out="Export the model again; nodes must be in topological order.",
        )


def _check_weights(model: onnx.ModelProto, path: Path) -> None:
    consumers = _consumers(model.graph)
    broken = []
    for tensor in model.graph.initializer:
        values = _values(tensor, path)
        if not np.issubdtype(values.dtype, np.floating):
            continue
        if np.isnan(values).any():
            broken.append(f"{tensor.name!r} has NaN")
        elif np.isinf(values).any() and not consumers.get(tensor.name, set()) <= _INFINITY_IS_MEANT:
            broken.append(f"{tensor.name!r} has infinities")
    if broken:
        raise ModelError(
            f"{path}: weights that are not finite",
            fact=", ".join(broken),
            way_out="Repair the training checkpoint, then export it again.",
        )


def _values(tensor: onnx.TensorProto, path: Path) -> Array:
    """The tensor's array, whose bytes must be those that its shape and type need."""
    try:
        values: Array = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, MemoryError, OverflowError) as error:
        raise ModelError(
            f"{path}: weight {tensor.name!r} cannot be read",
            fact=f"shape {list(tensor.dims)}: {error}",
            way_out="Copy or export the file again.",
        ) from error
    return values


def _consumers(graph: onnx.GraphProto) -> dict[str, set[str]]:
    """Value name -> the operator types that read it."""
    consumers: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, set()).add(node.op_type)
    return consumers
