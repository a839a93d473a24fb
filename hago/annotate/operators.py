"""Which operator of a hardware specification a Relax operation is, and how it treats codes."""

from __future__ import annotations

from collections.abc import Callable

from hago.dataflow import Node
from hago.hardware.spec import PASSING

# Operations whose result holds elements of their inputs, in the same codes.
MOVES = frozenset(
    {
        "reshape", "permute_dims", "squeeze", "expand_dims", "flatten", "strided_slice", "split",
        "tuple_get_item", "broadcast_to", "tile", "repeat", "flip",
    }
)  # fmt: skip

# Elementwise functions of one tensor (constants beside it do not count).
UNARY = frozenset(
    {
        "nn.relu", "clip", "sigmoid", "tanh", "exp", "log", "sqrt", "rsqrt", "erf", "negative",
        "abs", "floor", "ceil", "round", "square", "nn.gelu", "nn.gelu_tanh", "nn.silu",
        "nn.leakyrelu", "nn.prelu", "nn.softplus", "nn.relu6",
    }
)  # fmt: skip

BINARY = frozenset({"add", "subtract", "multiply", "divide", "maximum", "minimum", "power"})

# Which row of a specification covers an elementwise operation on two activations.
_BINARY_ROWS = {"add": "add", "subtract": "add", "multiply": "multiply"}

_DIRECT = {
    "nn.max_pool2d": "max_pool2d",
    "nn.avg_pool2d": "avg_pool2d",
    "nn.adaptive_avg_pool2d": "avg_pool2d",
    "concat": "concat",
}


def hardware_operator(node: Node) -> str | None:
    """The word of :data:`hago.hardware.spec.OPERATORS` for ``node``; None if there is none."""
    if node.op in _RULES:
        return _RULES[node.op](node)
    if node.op in MOVES:
        return "move"
    if is_unary(node):
        return "table"
    if node.op in _BINARY_ROWS:
        return _BINARY_ROWS[node.op]
    return _DIRECT.get(node.op)


def is_elementwise(node: Node) -> bool:
    """True for functions of corresponding elements, constants and broadcasting included."""
    return node.op in UNARY or node.op in BINARY


def is_unary(node: Node) -> bool:
    """True for an elementwise function of exactly one non-constant tensor."""
    variable = [name for arg, name in enumerate(node.inputs) if arg not in node.constants]
    return is_elementwise(node) and len(set(variable)) == 1


def passes_codes(node: Node) -> bool:
    """True where the output has its input's codes: scheme and numbers are tied."""
    return hardware_operator(node) in PASSING


def is_anchor(node: Node) -> bool:
    """True where products are summed: the result is an accumulator."""
    return hardware_operator(node) in (
        "conv2d", "depthwise_conv2d", "matmul", "batch_matmul", "avg_pool2d",
    )  # fmt: skip


def _conv2d(node: Node) -> str | None:
    if 1 not in node.constants:
        return None
    out_channels, _, _, per_group = node.constants[1].shape
    groups = int(node.call.attrs.groups)
    return "depthwise_conv2d" if groups == out_channels > 1 and per_group == 1 else "conv2d"


def _matmul(node: Node) -> str | None:
    if 0 in node.constants:
        return None
    if 1 not in node.constants:
        return "batch_matmul"
    return "matmul" if node.constants[1].ndim == 2 else None


def _mean(node: Node) -> str | None:
    axes = sorted(int(axis) % 4 for axis in node.call.attrs.axis or ())
    return "avg_pool2d" if axes == [1, 2] else None


def _resize2d(node: Node) -> str | None:
    return "resize2d" if node.call.attrs.method == "nearest_neighbor" else None


_RULES: dict[str, Callable[[Node], str | None]] = {
    "nn.conv2d": _conv2d,
    "matmul": _matmul,
    "mean": _mean,
    "image.resize2d": _resize2d,
}
# Which of these operations there are words for.
FORMS = {
    "nn.conv2d": "with constant weights",
    "matmul": "with weights of two axes on the right, or of two activations",
    "mean": "over height and width",
    "image.resize2d": "to the nearest neighbour",
}
