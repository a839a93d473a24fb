"""TensorFlow Lite models, float or quantized -> Relax, through TVM's importer (extra ``tflite``).

The file is a FlatBuffer with the identifier "TFL3". Quantized operators arrive as the float one
between dequantize and quantize, which is what their integers mean.
"""

from __future__ import annotations

import importlib
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tvm
from tvm import relax

from hago.errors import ModelError

_IDENTIFIER = b"TFL3"  # bytes 4 to 8, by TensorFlow's schema.fbs
_REFUSALS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError,
    TypeError, ValueError, struct.error,
)  # fmt: skip
_AS_DECLARED: Mapping[str, Sequence[int]] = {}


def import_tflite(
    path: str | Path, shapes: Mapping[str, Sequence[int]] = _AS_DECLARED
) -> tvm.IRModule:
    """The first graph of the model in ``path`` as a Relax module with constants inline.

    Inputs and outputs are called as in the file. Its shapes are fixed: ``shapes`` may only repeat
    them. Raises ModelError where the file cannot be read, holds weights that are not numbers, or
    has operators that TVM does not know (all of them at once, by the tensors they make).
    """
    path = Path(path)
    library = _library()
    try:
        model = library.Model.GetRootAsModel(_content(path), 0)
        _check_operators(model, library, path)
        _check_weights(model, path)
        _check_shapes(model, shapes, path)
    except _REFUSALS as error:
        raise _error(path, f"it is damaged: {_in_short(error)}") from error
    return _with_names(_converted(model, path), model)


def _library() -> ModuleType:
    try:
        return importlib.import_module("tflite")
    except ImportError as error:
        raise ModelError(
            "TensorFlow Lite files need the package 'tflite'",
            fact=str(error),
            way_out="pip install 'hago[tflite]'",
        ) from error


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot read the model",
            fact=error.strerror or str(error),
            way_out="Check the path and its permissions.",
        ) from error
    if content[4:8] != _IDENTIFIER:
        raise _error(path, f"bytes 4 to 8 are {content[4:8]!r} instead of {_IDENTIFIER!r}")
    return content


def _check_operators(model: Any, library: ModuleType, path: Path) -> None:
    from tvm.relax.frontend.tflite.tflite_frontend import OperatorConverter

    graph = model.Subgraphs(0)
    known = OperatorConverter(model, graph, None, None).convert_map
    unknown = [
        f"{kind} (makes '{name}')"
        for kind, name in _operators(model, graph, library)
        if kind not in known
    ]
    if unknown:
        raise ModelError(
            f"{path}: operators that hago cannot import",
            fact="; ".join(unknown),
            source="tvm.relax.frontend.tflite",
            way_out="Cut the model before them, or convert it without custom operators.",
        )


def _operators(model: Any, graph: Any, library: ModuleType) -> Iterator[tuple[str, str]]:
    """Each operator's name, and that of the first tensor it makes."""
    names = {code: name for name, code in vars(library.BuiltinOperator).items() if name.isupper()}
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = names.get(builtin, f"builtin {builtin}")
        if kind == "CUSTOM":
            kind = f"custom operator {(code.CustomCode() or b'').decode()}"
        made = graph.Tensors(operator.Outputs(0)) if operator.OutputsLength() else None
        yield kind, _name(made) if made is not None else ""


def _name(tensor: Any) -> str:
    return (tensor.Name() or b"").decode()


def _check_weights(model: Any, path: Path) -> None:
    graph = model.Subgraphs(0)
    # By TensorType of schema.fbs.
    dtypes: dict[int, np.dtype[Any]] = {0: np.dtype("float32"), 1: np.dtype("float16")}
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        buffer = model.Buffers(tensor.Buffer())
        if tensor.Type() not in dtypes or not buffer.DataLength():
            continue
        if np.isnan(np.frombuffer(buffer.DataAsNumpy(), dtypes[tensor.Type()])).any():
            raise ModelError(
                f"{path}: the weight '{_name(tensor)}' is not finite",
                fact="it holds NaN",
                way_out="Convert the model again from a checkpoint that is whole.",
            )


def _check_shapes(model: Any, shapes: Mapping[str, Sequence[int]], path: Path) -> None:
    declared = {name: tuple(map(int, t.ShapeAsNumpy())) for name, t in _ends(model, "Inputs")}
    for name, shape in shapes.items():
        if declared.get(name) != tuple(shape):
            text = ", ".join(f"{key}={'x'.join(map(str, d))}" for key, d in declared.items())
            raise ModelError(
                f"{path}: the shapes of a TensorFlow Lite file are fixed",
                fact=f"its inputs are {text}",
                way_out="Leave out --shape, or convert the model with other shapes.",
            )
    for name, shape in declared.items():
        if min(shape, default=1) <= 0:
            raise _error(path, f"input '{name}' has the shape {list(shape)}")


def _ends(model: Any, which: str) -> list[tuple[str, Any]]:
    """The tensors of "Inputs" or "Outputs", in order, with their names."""
    graph = model.Subgraphs(0)
    count = getattr(graph, f"{which}Length")()
    tensors = [graph.Tensors(getattr(graph, which)(index)) for index in range(count)]
    return [(_name(tensor), tensor) for tensor in tensors]


def _converted(model: Any, path: Path) -> tvm.IRModule:
    from tvm.relax.frontend.tflite import from_tflite

    from hago.frontend.tflite_operators import Converter

    builders: list[relax.BlockBuilder] = []

    def converter(*given: Any) -> Converter:
        builders.append(given[-1])
        return Converter(*given)

    try:
        return from_tflite(model, op_converter=converter)
    except _REFUSALS as error:
        for builder in builders:
            builder._end_block()  # one that is dropped with an open block warns on stderr
        raise _error(path, _in_short(error)) from error


def _with_names(module: tvm.IRModule, model: Any) -> tvm.IRModule:
    inputs, outputs = ([name for name, _ in _ends(model, end)] for end in ("Inputs", "Outputs"))
    names = {"hago.input_names": inputs, "hago.output_names": outputs, "num_input": len(inputs)}
    main: relax.Function = module["main"].without_attr("params")
    result = module.clone()
    result["main"] = main.with_attrs(names)
    return result


def _in_short(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:300] or type(error).__name__


def _error(path: Path, fact: str) -> ModelError:
    return ModelError(
        f"{path}: not a TensorFlow Lite model that hago can read",
        fact=fact,
        source="tvm.relax.frontend.tflite",
        way_out="Convert the model again, or export it to ONNX.",
    )
