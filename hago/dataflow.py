"""A read-only view of a prepared module: its operations in program order, by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tvm import ir, relax

from hago.scheme import Array

# What the constant arguments of an operation are called in edges.
_CONSTANT_NAMES = {("nn.conv2d", 1): "weight", ("matmul", 1): "weight"}


@dataclass(frozen=True, eq=False)
class Node:
    """One binding: ``inputs`` are the names of its tensor arguments, tuples flattened.

    ``constants`` maps argument numbers to values, ``op`` has no ``relax.`` in front.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    constants: dict[int, Array]
    shape: tuple[int, ...]
    dtype: str
    value: relax.Expr

    @property
    def call(self) -> relax.Call:
        assert isinstance(self.value, relax.Call), self.name
        return self.value


@dataclass(frozen=True, eq=False)
class Dataflow:
    """Parameters, operations and results of a module's ``main``."""

    params: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    def users(self) -> dict[str, list[tuple[str, int]]]:
        """For each value, the (operation, argument) pairs that read it; results included."""
        found: dict[str, list[tuple[str, int]]] = {}
        for node in self.nodes:
            for arg, name in enumerate(node.inputs):
                found.setdefault(name, []).append((node.name, arg))
        for arg, name in enumerate(self.outputs):
            found.setdefault(name, []).append(("output", arg))
        return found

    def by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}


def is_constant(expr: relax.Expr) -> bool:
    return isinstance(expr, ir.GenericConst)


def constant_value(expr: relax.Expr) -> Array:
    """The numpy array of a constant expression."""
    return np.asarray(expr.value.numpy())


def flat_args(value: relax.Expr) -> tuple[relax.Expr, ...]:
    """The tensor arguments of a binding's value, tuples opened, shapes and scalars left out."""
    if isinstance(value, relax.TupleGetItem):
        return (value.tuple_value,)
    if isinstance(value, relax.Tuple):
        return tuple(value.fields)
    if not isinstance(value, relax.Call):
        return (value,)
    return tuple(leaf for arg in value.args for leaf in _tensor_leaves(arg))


def _tensor_leaves(arg: relax.Expr) -> Iterator[relax.Expr]:
    if isinstance(arg, relax.Tuple):
        for field in arg.fields:
            yield from _tensor_leaves(field)
    elif isinstance(arg, relax.Var) or is_constant(arg):
        yield arg


def op_name(value: relax.Expr) -> str:
    """``nn.conv2d`` for a call of ``relax.nn.conv2d``; the kind of expression for others."""
    if isinstance(value, relax.TupleGetItem):
        return "tuple_get_item"
    if isinstance(value, relax.Call) and isinstance(value.op, ir.Op):
        return str(value.op.name).removeprefix("relax.")
    return "alias" if isinstance(value, relax.Var) else "other"


def read_dataflow(module: ir.IRModule) -> Dataflow:
    """The operations of ``module["main"]`` (a prepared or quantized module)."""
    main = module["main"]
    nodes: list[Node] = []
    for block in main.body.blocks:
        nodes.extend(_node(binding) for binding in block.bindings)
    nodes, outputs = _resolve_results(nodes, main.body.body)
    params = tuple(str(param.name) for param in main.params)
    return Dataflow(params, tuple(nodes), outputs)


def input_params(module: ir.IRModule) -> dict[str, str]:
    """Parameters of ``module["main"]`` by the model's own names of its inputs."""
    main = module["main"]
    params = [str(param.name) for param in main.params]
    is_named = main.attrs and "hago.input_names" in main.attrs
    names = map(str, main.attrs["hago.input_names"]) if is_named else params
    return dict(zip(names, params, strict=True))


def _node(binding: relax.Binding) -> Node:
    name, value = str(binding.var.name), binding.value
    op = op_name(value)
    inputs, constants = [], {}
    for arg, leaf in enumerate(flat_args(value)):
        if is_constant(leaf):
            constants[arg] = constant_value(leaf)
            inputs.append(f"{name}.{_CONSTANT_NAMES.get((op, arg), f'const{arg}')}")
        else:
            inputs.append(str(leaf.name))
    shape, dtype = tensor_type(binding.var)
    return Node(name, op, tuple(inputs), constants, shape, dtype, value)


def tensor_type(expr: relax.Expr) -> tuple[tuple[int, ...], str]:
    """Static shape and dtype of a tensor expression; ``((), "")`` for tuples."""
    ty = expr.ty
    if not isinstance(ty, relax.TensorType):
        return (), ""
    return tuple(int(extent) for extent in ty.shape), str(ty.dtype)


def _resolve_results(
    nodes: list[Node], result: relax.Expr
) -> tuple[list[Node], tuple[str, ...]]:
    """Names of the results; a binding that only collects them is dropped."""
    fields = result.fields if isinstance(result, relax.Tuple) else (result,)
    if len(fields) == 1 and nodes and nodes[-1].name == str(fields[0].name):
        last = nodes[-1]
        if isinstance(last.value, relax.Tuple):
            return nodes[:-1], last.inputs
    return nodes, tuple(str(field.name) for field in fields)
