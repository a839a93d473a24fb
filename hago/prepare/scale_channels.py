"""Give each channel of a tensor a shift and a scale of its own in front of products.

    matmul(x, w)   =>  matmul((x - z) * (1 / s), w * s) + z w       s, z for each row of w
    conv2d(x, w)   =>  conv2d(x * (1 / s), w * s)                   s for each input channel of w

The result over the real numbers stays; the codes of ``(x - z) / s`` are spread more evenly over
the channels than those of ``x`` (SmoothQuant, arXiv 2211.10438, equation 3; Outlier Suppression+,
arXiv 2304.09145, equations 3 and 4). What else reads ``x`` still does. Where the multiplication
follows a product or other constants, :func:`hago.prepare.prepare` folds it into them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tvm import ir, relax

from hago.dataflow import Node, read_dataflow
from hago.rebuild import Values, emit, rebuild, substitute, with_leaves
from hago.scheme import Array

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ChannelScale:
    """``scale`` (positive) and ``shift``, both float32 [C], of one tensor's channels."""

    scale: Floats
    shift: Floats

    @staticmethod
    def of(scale: Array, shift: Array | None = None) -> ChannelScale:
        """``scale`` and ``shift`` (nothing, where it is not given) in float32."""
        narrow = scale.astype(np.float32)
        return ChannelScale(
            narrow, np.zeros_like(narrow) if shift is None else shift.astype(np.float32)
        )

    def __post_init__(self) -> None:
        if self.scale.shape != self.shift.shape or self.scale.ndim != 1:
            raise ValueError(f"one scale and one shift a channel: {self.scale.shape}")
        if not np.all(self.scale > 0):
            raise ValueError("a scale is positive")


def scale_channels(module: ir.IRModule, scales: Mapping[str, ChannelScale]) -> ir.IRModule:
    """``module`` with the tensors ``scales`` scaled where products with constants read them."""
    dataflow = read_dataflow(module)
    readers = {
        node.name: node
        for node in dataflow.nodes
        if node.inputs and node.inputs[0] in scales and is_weighted(node)
    }
    scaled: dict[str, relax.Expr] = {}

    def rewrite(builder: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        node = readers.get(str(binding.var.name))
        if node is None:
            return substitute(binding.value, values)
        source = node.inputs[0]
        own = scales[source]
        if source not in scaled:
            scaled[source] = _scaled(builder, values[source], own)
        leaves = {0: scaled[source], 1: relax.const(scaled_weight(node, own.scale))}
        product = with_leaves(substitute(binding.value, values), leaves)
        return _shifted_back(builder, product, node, own)

    return rebuild(module, rewrite)


def scale_inside(
    module: ir.IRModule, inside: Mapping[str, ChannelScale], behind: Mapping[str, ChannelScale]
) -> ir.IRModule:
    """``module`` with the tensors ``inside`` shifted and scaled for all that read them.

    The products ``behind`` get weights that undo this of their inputs. That nothing else sees the
    difference is the caller's to know.
    """
    nodes = read_dataflow(module).by_name()

    def rewrite(builder: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        name, value = str(binding.var.name), substitute(binding.value, values)
        if name in inside:
            return _scaled(builder, emit(builder, value, "unscaled"), inside[name])
        if name not in behind:
            return value
        node, own = nodes[name], behind[name]
        product = with_leaves(value, {1: relax.const(scaled_weight(node, own.scale))})
        return _shifted_back(builder, product, node, own)

    return rebuild(module, rewrite)


def _shifted_back(
    builder: relax.BlockBuilder, product: relax.Expr, node: Node, own: ChannelScale
) -> relax.Expr:
    """``product`` with what the shift took from it: z w."""
    if not own.shift.any():
        return product
    shift = own.shift.astype(np.float64) @ node.constants[1].astype(np.float64)
    return relax.op.add(builder.emit(product), relax.const(shift.astype(np.float32)))


def is_weighted(node: Node) -> bool:
    """Whether ``node`` multiplies a computed tensor by constant weights."""
    if node.op not in ("nn.conv2d", "matmul") or 1 not in node.constants or 0 in node.constants:
        return False
    return node.op == "nn.conv2d" or node.constants[1].ndim == 2


def by_input_channel(node: Node, per_channel: Array) -> Array:
    """One value an input channel, in a shape that broadcasts against the weights of ``node``."""
    if node.op == "matmul":
        return per_channel[:, np.newaxis]
    out_channels, _, _, per_group = node.constants[1].shape
    groups = len(per_channel) // per_group
    grouped = per_channel.reshape(groups, 1, 1, per_group)
    return np.repeat(grouped, out_channels // groups, axis=0)


def scaled_weight(node: Node, scale: Floats) -> Floats:
    """The weights of ``node`` that undo ``scale`` of its input."""
    return (node.constants[1] * by_input_channel(node, scale)).astype(np.float32)


def _scaled(builder: relax.BlockBuilder, real: relax.Expr, own: ChannelScale) -> relax.Expr:
    """(x - z) / s as x * (1 / s) + (-z / s)."""
    inverse = (1.0 / own.scale.astype(np.float64)).astype(np.float32)
    result = builder.emit(relax.op.multiply(real, relax.const(inverse)))
    if not own.shift.any():
        return result
    offset = (-own.shift.astype(np.float64) / own.scale).astype(np.float32)
    return builder.emit(relax.op.add(result, relax.const(offset)))
