"""A prepared or QDQ module as an ONNX file, which other runtimes read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import helper
from tvm import ir, relax

from hago.dataflow import flat_args, is_constant, read_dataflow, tensor_type
from hago.errors import BuildError
from hago.export.rows import ROWS
from hago.export.writer import Writer, onnx_type
from hago.realize.float8_values import hold_values

OPSET = 20  # the first with Gelu; 19 was the first with 8-bit floats
_IR_VERSION = 9  # the one that belongs to it


def export_onnx(module: ir.IRModule, path: Path) -> None:
    """Writes ``module``, inputs and outputs under the model's own names; ``path`` is complete or
    as it was.

    Images are channels-first as ONNX wants them. Raises BuildError for operators without a row in
    :data:`hago.export.rows.ROWS` (all of them at once) and where ``path`` cannot be written.
    """
    write_model(to_onnx(module), path)


def to_onnx(module: ir.IRModule) -> onnx.ModelProto:
    """``module`` as an ONNX model, checked. Raises BuildError as :func:`export_onnx`."""
    module = hold_values(module)  # 8-bit floats cannot be moved, before operator set 21
    _check_operators(module)
    main, writer = module["main"], Writer()
    bindings = [binding for block in main.body.blocks for binding in block.bindings]
    _count_reads(writer, bindings, main.body.body)
    inputs = []
    for param, name in zip(main.params, main.attrs["hago.input_names"], strict=True):
        shape, dtype = tensor_type(param)
        inputs.append(helper.make_tensor_value_info(str(name), onnx_type(dtype), shape))
        writer.bind(str(param.name), str(name))
    for binding in bindings:
        _write_binding(writer, binding)
    outputs = []
    for var, name in zip(_results(main.body.body), main.attrs["hago.output_names"], strict=True):
        shape, dtype = tensor_type(var)
        writer.node("Identity", [writer.value(var)], str(name))
        outputs.append(helper.make_tensor_value_info(str(name), onnx_type(dtype), shape))
    used = {name for node in writer.nodes for name in node.input}
    constants = [constant for constant in writer.initializers if constant.name in used]
    graph = helper.make_graph(writer.nodes, "hago", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, producer_name="hago", opset_imports=opsets)
    model.ir_version = _IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Writes the whole file or nothing. Raises BuildError."""
    with _scratch_beside(path) as scratch:
        scratch.write_bytes(model.SerializeToString())
        scratch.replace(path)


def check_file(path: Path) -> None:
    """Raises BuildError where ``path`` could not be written, before long work begins."""
    if path.is_dir():
        raise _unwritable(path, "it is a folder")
    with _scratch_beside(path):
        pass


@contextmanager
def _scratch_beside(path: Path) -> Iterator[Path]:
    """An empty file in the folder of ``path``, gone afterwards unless it was moved."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, str(error)) from error


def _unwritable(path: Path, fact: str) -> BuildError:
    way_out = "Give a file in a folder that you may write to."
    return BuildError(f"{path}: cannot be written", fact=fact, way_out=way_out)


def _check_operators(module: ir.IRModule) -> None:
    unknown = [
        f"{node.op} ({node.name})"
        for node in read_dataflow(module).nodes
        if isinstance(node.value, relax.Call) and node.op not in ROWS
    ]
    if unknown:
        raise BuildError(
            "this model cannot be written as ONNX",
            fact=f"there is no row for {', '.join(unknown)}",
            source="hago/export/rows.py",
            way_out="Add rows, or compile without an export.",
        )


def _write_binding(writer: Writer, binding: relax.Binding) -> None:
    name, value = str(binding.var.name), binding.value
    if isinstance(value, relax.Var) or is_constant(value):
        writer.bind(name, writer.value(value))
        return
    op = str(value.op.name).removeprefix("relax.")
    place, first = ROWS[op](writer, value, name)
    writer.bind(name, place, first)


def _count_reads(writer: Writer, bindings: list[relax.Binding], body: relax.Expr) -> None:
    leaves = [leaf for b in bindings for leaf in flat_args(b.value)] + _results(body)
    for leaf in leaves:
        if isinstance(leaf, relax.Var):
            writer.reads[str(leaf.name)] = writer.reads.get(str(leaf.name), 0) + 1


def _results(body: relax.Expr) -> list[relax.Expr]:
    return list(body.fields) if isinstance(body, relax.Tuple) else [body]
