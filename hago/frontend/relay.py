"""Relay text and parameters, as TVM 0.19 and older saved them -> Relax.

Relay left TVM in 0.20; this is how models that were saved in it go on.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax

from hago.errors import ModelError
from hago.frontend.building import closed_on_error
from hago.frontend.relay_arrays import Array, read_array, read_named_arrays
from hago.frontend.relay_operators import ROWS, Operation
from hago.frontend.relay_text import Call, Expr, Local, Meta, Program, Scalar, Tuple, parse_relay

_LARGEST_FILE = 2**32  # bytes
# How rows and TVM's own checks say that operands or attributes do not fit.
_REFUSALS = (ValueError, TypeError, IndexError, KeyError, AttributeError, RuntimeError)


def import_relay(text: str | Path, params: str | Path | None = None) -> tvm.IRModule:
    """The function ``main`` of a Relay text file as a Relax module with constants inline.

    Args:
        text: what ``mod.astext()`` printed, with or without metadata.
        params: what ``save_param_dict`` wrote; by default the file of the same name that ends in
            ``.params``, if there is one. Parameters that it names become constants, the others
            are the model's inputs.

    Raises:
        ModelError: the files cannot be read or use what has no row in
            ``hago.frontend.relay_operators`` (all such operators at once).
    """
    text = Path(text)
    program, constants = _read_text(text)
    beside = text.with_suffix(".params")
    known = _read_params(Path(params) if params else (beside if beside.is_file() else None))
    _check_operators(program, text)
    try:
        return _Importer(program, constants, known).module()
    except _REFUSALS as error:
        raise _error(text, f"it cannot be built: {_first_line(error)}") from error


def _read_text(path: Path) -> tuple[Program, list[Array]]:
    try:
        content = _content(path).decode()
        body, *metadata = re.split(r"^#\[metadata\]$", content, maxsplit=1, flags=re.MULTILINE)
        return parse_relay(body), _metadata_arrays(metadata[0]) if metadata else []
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise _error(path, _first_line(error)) from error


def _read_params(path: Path | None) -> dict[str, Array]:
    if path is None:
        return {}
    try:
        return read_named_arrays(_content(path))
    except (OSError, ValueError) as error:
        raise _error(path, str(error)) from error


def _content(path: Path) -> bytes:
    if path.stat().st_size > _LARGEST_FILE:
        raise ValueError("it is larger than 4 GiB")
    return path.read_bytes()


def _metadata_arrays(text: str) -> list[Array]:
    """The arrays of the metadata's constants, in their order."""
    graph = json.loads(text)
    nodes = graph["nodes"]
    try:
        blobs = [base64.b64decode(blob, validate=True) for blob in graph["b64ndarrays"]]
    except binascii.Error as error:
        raise ValueError(f"its metadata is damaged: {error}") from error
    root = nodes[graph["root"]]
    if "relay.Constant" not in root["keys"]:
        return []
    listed = nodes[root["data"][root["keys"].index("relay.Constant")]]
    return [read_array(blobs[int(nodes[i]["attrs"]["data"])]) for i in listed["data"]]


def _check_operators(program: Program, path: Path) -> None:
    calls = [call for _, expr in program.bindings for call in _calls(expr)]
    calls += _calls(program.result)
    unknown = {call.op: call.line for call in reversed(calls) if call.op not in ROWS}
    if unknown:
        places = ", ".join(f"{op} (line {line})" for op, line in sorted(unknown.items()))
        raise _error(path, f"these operators are not supported: {places}")


def _calls(expr: Expr) -> Iterator[Call]:
    if isinstance(expr, Call):
        yield expr
        for arg in expr.args:
            yield from _calls(arg)
    if isinstance(expr, Tuple):
        for part in expr.fields:
            yield from _calls(part)


@dataclass(eq=False)
class _Importer:
    program: Program
    constants: list[Array]
    known: Mapping[str, Array]
    values: dict[str, Any] = field(default_factory=dict)
    builder: relax.BlockBuilder = field(default_factory=relax.BlockBuilder)

    def module(self) -> tvm.IRModule:
        names, params = [], []
        for parameter in self.program.params:
            value = self.known.get(parameter.name)
            if value is None:
                names.append(parameter.name)
                word = re.sub(r"\W", "_", parameter.name)
                params.append(
                    relax.Var(word, relax.TensorType(parameter.shape, parameter.dtype))
                )
                self.values[f"%{parameter.name}"] = params[-1]
                continue
            if (value.shape, str(value.dtype)) != (parameter.shape, parameter.dtype):
                found, wanted = f"{value.dtype}{list(value.shape)}", list(parameter.shape)
                raise ValueError(f"'{parameter.name}' is {found}, not {parameter.dtype}{wanted}")
            self.values[f"%{parameter.name}"] = _constant(value)
        with self.builder.function("main", params), closed_on_error(self.builder, ValueError):
            with self.builder.dataflow():
                for name, expr in self.program.bindings:
                    self.values[name] = self._value(expr)
                result = self._value(self.program.result)
                output = self.builder.emit_output(result)
            self.builder.emit_func_output(output)
        count = len(result) if isinstance(result, list) else 1
        outputs = ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
        return _with_names(self.builder.get(), names, outputs)

    def _value(self, expr: Expr) -> Any:
        if isinstance(expr, Local):
            return self._local(expr.name)
        if isinstance(expr, Scalar):
            return relax.const(np.asarray(expr.value, expr.dtype), expr.dtype)
        if isinstance(expr, Meta):
            return _constant(self.constants[expr.index])
        if isinstance(expr, Tuple):
            return [self._value(part) for part in expr.fields]
        args = [self._value(arg) for arg in expr.args]
        try:
            value = ROWS[expr.op](Operation(args, expr.attributes, self.builder))
            is_done = isinstance(value, list) or _is_bound(value)
            return value if is_done else self.builder.emit(value)
        except _REFUSALS as error:
            raise ValueError(f"line {expr.line}: {expr.op}: {_first_line(error)}") from error

    def _local(self, name: str) -> Any:
        """``%3.0`` is a field of ``%3``, unless a value is called so."""
        if name in self.values:
            return self.values[name]
        whole, _, index = name.rpartition(".")
        if isinstance(self.values.get(whole), list) and index.isdecimal():
            return self.values[whole][int(index)]
        raise ValueError(f"'{name}' is used before it is defined")


def _is_bound(expr: relax.Expr) -> bool:
    return isinstance(expr, relax.Var | tvm.ir.GenericConst)


def _constant(value: Array) -> relax.Expr:
    return relax.const(np.ascontiguousarray(value).reshape(value.shape), str(value.dtype))


def _with_names(module: tvm.IRModule, inputs: list[str], outputs: list[str]) -> tvm.IRModule:
    names = {"hago.input_names": inputs, "hago.output_names": outputs, "num_input": len(inputs)}
    module["main"] = module["main"].with_attrs(names)
    return module


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _error(path: Path, fact: str) -> ModelError:
    way_out = "Give what mod.astext() printed, and what save_param_dict wrote beside it."
    return ModelError(f"{path}: not a Relay model that hago can read", fact=fact, way_out=way_out)
