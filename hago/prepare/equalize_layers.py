"""Move a factor of each channel from one layer into the next, through what is homogeneous.

    f(W1 x + b1) W2  =>  f(S^-1 W1 x + S^-1 b1) (S W2),   f(s y) = s f(y) for s > 0

M. Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction,
arXiv 1906.04721, equations 5 to 7. A clip to [low, high] becomes one to [low / s, high / s], by
channel, so that ReLU6 need not be replaced by ReLU. :func:`hago.prepare.prepare` then folds
``S^-1`` into ``W1`` and ``b1``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tvm import relax
from tvm.ir import IRModule

from hago.dataflow import Dataflow, Node, read_dataflow
from hago.prepare.scale_channels import is_weighted, scaled_weight
from hago.rebuild import Values, emit, rebuild, substitute, with_leaves

Floats = npt.NDArray[np.float32]
_BOUNDS = frozenset({"minimum", "maximum"})  # by constants, which are divided as well
_HOMOGENEOUS = frozenset({"nn.relu", "nn.leakyrelu", "clip", *_BOUNDS})


@dataclass(frozen=True, eq=False)
class Passage:
    """The layer ``before`` a tensor, and the ``functions`` (the last first) between the two."""

    before: Node
    functions: tuple[str, ...]


def passage(dataflow: Dataflow, node: Node) -> Passage | None:
    """How ``node`` comes from a product: through a bias, then what is homogeneous.

    None where it does not, or where another operation reads something on the way, or ``node`` is
    read by something else than products with constant weights.
    """
    nodes, users = dataflow.by_name(), dataflow.users()
    readers = [(nodes.get(user), arg) for user, arg in users.get(node.name, ())]
    if not all(reader is not None and is_weighted(reader) and not arg for reader, arg in readers):
        return None
    each: Node | None = node
    functions: list[str] = []
    while each is not None and each.op in _HOMOGENEOUS and _is_bounded_by_constants(each):
        functions.append(each.name)
        each = _only_read_by(nodes, users, each)
    while each is not None and each.op == "add" and 1 in each.constants:
        each = _only_read_by(nodes, users, each)
    if each is None or not is_weighted(each):
        return None
    return Passage(each, tuple(functions))


def _is_bounded_by_constants(node: Node) -> bool:
    return node.op not in _BOUNDS or 1 in node.constants


def _only_read_by(
    nodes: Mapping[str, Node], users: Mapping[str, list[tuple[str, int]]], node: Node
) -> Node | None:
    """What ``node`` reads, if nobody else does and it has the same shape."""
    source = nodes.get(node.inputs[0])
    alone = source is not None and len(users[source.name]) == 1 and source.shape == node.shape
    return source if alone else None


def equalize_layers(module: IRModule, factors: Mapping[str, Floats]) -> IRModule:
    """``module`` with the channels of the tensors ``factors`` divided by these, float32 [C].

    Each must have a :func:`passage`.
    """
    dataflow = read_dataflow(module)
    nodes, users = dataflow.by_name(), dataflow.users()
    readers = {user: factor for name, factor in factors.items() for user, _ in users[name]}
    between: dict[str, Floats] = {}
    divided: dict[str, Floats] = {}  # what is divided in front of an operation, or after it
    for name, factor in factors.items():
        found = passage(dataflow, nodes[name])
        assert found is not None, f"{name}: no layer before it"
        between.update(dict.fromkeys(found.functions, factor))
        divided[found.functions[-1] if found.functions else name] = factor

    def rewrite(builder: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        name = str(binding.var.name)
        value = substitute(binding.value, values)
        if name in readers:
            weight = scaled_weight(nodes[name], readers[name])
            value = with_leaves(value, {1: relax.const(weight)})
        if name not in between:
            return _over(builder, value, divided[name]) if name in divided else value
        if name in divided:
            argument = builder.emit(_over(builder, value.args[0], divided[name]))
            value = with_leaves(value, {0: argument})
        return _bounded(builder, value, nodes[name], between[name])

    return rebuild(module, rewrite)


def _over(builder: relax.BlockBuilder, value: relax.Expr, factor: Floats) -> relax.Expr:
    inverse = (1 / factor.astype(np.float64)).astype(np.float32)
    return relax.op.multiply(emit(builder, value, "undivided"), relax.const(inverse))


def _bounded(
    builder: relax.BlockBuilder, value: relax.Call, node: Node, factor: Floats
) -> relax.Expr:
    """The homogeneous function ``value`` for an argument over ``factor``."""
    if node.op in _BOUNDS:
        return with_leaves(value, {1: relax.const(node.constants[1] / factor)})
    if node.op != "clip":
        return value
    low, high = (np.float32(_number(bound)) / factor for bound in value.args[1:])
    above = relax.op.maximum(value.args[0], relax.const(low)) if low.any() else (
        relax.op.nn.relu(value.args[0]))  # fmt: skip
    return relax.op.minimum(builder.emit(above), relax.const(high))


def _number(bound: relax.Expr) -> float:
    """The number behind a scalar argument of a call."""
    inner = getattr(bound, "value", bound)
    return float(getattr(inner, "value", inner))
