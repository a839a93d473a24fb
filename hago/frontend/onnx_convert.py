"""A checked ONNX graph with fixed inputs -> a Relax module.

A node is folded if its value is known, converted by our converter if we have one, and by TVM's
otherwise. The result has static shapes, constants inline and only high-level Relax operators.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import onnx
import onnx.numpy_helper
import tvm
from tvm import relax

from hago.errors import TVM_REFUSALS, ModelError
from hago.frontend import (  # noqa: F401  (they register their converters)
    onnx_attention,
    onnx_contributed,
    onnx_convolution,
    onnx_deconvolution,
    onnx_elementwise,
    onnx_fourier,
    onnx_fused,
    onnx_fused_attention,
    onnx_movement,
    onnx_quantized,
    onnx_recurrent,
    onnx_standard,
)
from hago.frontend.building import closed_on_error
from hago.frontend.onnx_fold import folded
from hago.frontend.onnx_inputs import GraphInput
from hago.frontend.onnx_node import (
    CONVERTERS,
    LARGEST,
    Node,
    NotConvertible,
    attribute_values,
    constant,
    constant_of,
    static_shape,
    widened,
)
from hago.frontend.onnx_operators import tvm_converter
from hago.graph import OUTPUT

Values = dict[str, relax.Expr]


def build_module(
    graph: onnx.GraphProto, inputs: Sequence[GraphInput], opset: int, path: Path
) -> tvm.IRModule:
    """A module whose ``main`` takes `inputs` and returns the graph's outputs.

    ``main`` has the attributes ``hago.input_names`` and ``hago.output_names``: the names in the
    file, in order; its parameters have the same names, spelled as identifiers.

    Raises:
        ModelError: a node that cannot be converted, by name.
    """
    builder = relax.BlockBuilder()
    params = _parameters(inputs)
    with builder.function("main", list(params.values())), closed_on_error(builder, ModelError):
        with builder.dataflow():
            values: Values = {**params, **_initializers(graph)}
            _convert_nodes(graph.node, values, builder, opset, path)
            outputs = [_computed(o.name, values[o.name], path) for o in graph.output]
            result = builder.emit_output(outputs[0] if len(outputs) == 1 else outputs)
        builder.emit_func_output(result)
    return _with_names(builder.get(), inputs, graph)


def _computed(name: str, value: relax.Expr, path: Path) -> relax.Expr:
    """The output ``value``. Raises ModelError for a constant."""
    if constant_of(value) is None:
        return value
    raise ModelError(
        f"{path}: output '{name}' is a constant",
        fact="no input of the model changes it",
        way_out="Remove it from the model's outputs (graph.output in onnx).",
    )


def _parameters(inputs: Sequence[GraphInput]) -> dict[str, relax.Var]:
    params: dict[str, relax.Var] = {}
    taken: set[str] = set()
    for value in inputs:
        name = _identifier(value.name, taken)
        taken.add(name)
        params[value.name] = relax.Var(name, relax.TensorType(value.shape, widened(value.dtype)))
    return params


def _identifier(name: str, taken: set[str]) -> str:
    word = re.sub(r"\W", "_", name) or "input"
    word = f"input_{word}" if word[0].isdigit() else word
    while word in taken or word == OUTPUT:  # edges to the model's results have that name
        word += "_"
    return word


def _initializers(graph: onnx.GraphProto) -> Values:
    return {t.name: constant(onnx.numpy_helper.to_array(t)) for t in graph.initializer}


def _with_names(
    module: tvm.IRModule, inputs: Sequence[GraphInput], graph: onnx.GraphProto
) -> tvm.IRModule:
    names = {
        "hago.input_names": [value.name for value in inputs],
        "hago.output_names": [value.name for value in graph.output],
        "num_input": len(inputs),
    }
    module["main"] = module["main"].with_attrs(names)
    return module


def _convert_nodes(
    nodes: Iterable[onnx.NodeProto],
    values: Values,
    builder: relax.BlockBuilder,
    opset: int,
    path: Path,
) -> None:
    """Add every node's outputs to `values`."""
    for proto in nodes:
        operands = tuple(values[name] if name else None for name in proto.input)
        attributes = attribute_values(proto)
        node = Node(
            proto.op_type, proto.name, operands, attributes, len(proto.output), opset, builder
        )
        try:
            if proto.op_type == "If":
                branch = _branch_taken(node)
                values.update(_initializers(branch))
                _convert_nodes(branch.node, values, builder, opset, path)
                results = tuple(values[o.name] for o in branch.output)
            else:
                results = _convert_node(proto, node)
            _bind_outputs(proto, results, values)
        except TVM_REFUSALS as error:
            raise _cannot_convert(proto, error, path) from error


def _convert_node(proto: onnx.NodeProto, node: Node) -> tuple[relax.Expr, ...]:
    known = folded(proto, node)
    if known is not None:
        return tuple(constant(value) for value in known)
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    converter = CONVERTERS.get((domain, proto.op_type)) or tvm_converter(proto.op_type)
    converted = converter(node)
    parts = converted if isinstance(converted, tuple) else (converted,)
    return tuple(part if _is_bound(part) else node.emit(part) for part in parts)


def _is_bound(expr: relax.Expr) -> bool:
    return isinstance(expr, relax.Var) or constant_of(expr) is not None


def _branch_taken(node: Node) -> onnx.GraphProto:
    """The branch of an If whose condition folded to a constant; there is no other kind here."""
    branch = node.attributes["then_branch" if node.array(0).item() else "else_branch"]
    assert isinstance(branch, onnx.GraphProto)
    return branch


def _bind_outputs(proto: onnx.NodeProto, results: Sequence[relax.Expr], values: Values) -> None:
    for index, name in enumerate(proto.output):
        if not name:
            continue
        if index >= len(results):
            raise NotConvertible(f"its output {index} ({name!r}) has no Relax form")
        _check_sizes(name, results[index])
        values[name] = results[index]


def _check_sizes(name: str, result: relax.Expr) -> None:
    """Empty constants are legitimate (an unused region of interest); empty activations are not,
    and kernels index elements with 31 bits."""
    if constant_of(result) is not None:
        return
    shape = static_shape(result)
    if 0 in shape:
        raise NotConvertible(f"its output {name!r} has a zero-size dimension")
    if math.prod(shape) > LARGEST:
        raise NotConvertible(f"its output {name!r} of shape {list(shape)} is too large")


def _cannot_convert(proto: onnx.NodeProto, error: Exception, path: Path) -> ModelError:
    label = proto.name or ", ".join(proto.output)
    return ModelError(
        f"{path}: node {label!r} ({proto.op_type}) cannot be imported",
        fact=str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__,
        way_out="Export the model without this use of the operator.",
    )
