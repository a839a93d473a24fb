"""What a recipe looks at: which structures a model has, and how narrow its weights will be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tvm.ir import IRModule

from hago.annotate.operators import MOVES
from hago.dataflow import Node, read_dataflow
from hago.hardware.spec import HardwareSpec
from hago.methods.attention import find_attention
from hago.methods.blocks import is_layer


@dataclass(frozen=True)
class Facts:
    """Counts of a prepared module's structures.

    ``convolutions`` and ``products`` (matrix products) are those with constant weights;
    ``depthwise`` are the convolutions of single channels, ``normalised`` the products that read a
    layer or root mean square normalisation, whose channels are known to stand out; ``attentions``
    have queries, keys and values from layers of their own; ``residuals`` are sums of two
    activations of one shape. ``weight_bits`` are those of all but the end layers, of which a
    machine may have fewer than 8.
    """

    convolutions: int = 0
    depthwise: int = 0
    products: int = 0
    normalised: int = 0
    attentions: int = 0
    residuals: int = 0
    weight_bits: int = 8

    def __str__(self) -> str:
        parts = (
            (self.convolutions, "convolution", "s"),
            (self.depthwise, "of them depthwise", ""),
            (self.products, "matrix product", "s"),
            (self.normalised, "of them after a normalisation", ""),
            (self.attentions, "attention", "s"),
            (self.residuals, "residual sum", "s"),
        )
        told = (f"{n} {what}{plural if n > 1 else ''}" for n, what, plural in parts if n)
        return ", ".join([*told, f"weights of {self.weight_bits} bits"])


def facts_of(module: IRModule, weight_bits: int, spec: HardwareSpec | None = None) -> Facts:
    """The facts of a prepared ``module`` whose weights are to have ``weight_bits``, or as many as
    the products of ``spec`` multiply, where these are fewer."""
    dataflow = read_dataflow(module)
    nodes = dataflow.by_name()
    layers = [node for node in dataflow.nodes if is_layer(node)]
    convolutions = [node for node in layers if node.op == "nn.conv2d"]
    products = [node for node in layers if node.op == "matmul"]
    return Facts(
        convolutions=len(convolutions),
        depthwise=sum(_is_depthwise(node) for node in convolutions),
        products=len(products),
        normalised=sum(_reads_norm(nodes, node) for node in products),
        attentions=len(find_attention(dataflow)),
        residuals=sum(_is_residual(nodes, node) for node in dataflow.nodes),
        weight_bits=weight_bits if spec is None else min(weight_bits, multiplied_bits(spec)),
    )


def multiplied_bits(spec: HardwareSpec) -> int:
    """The bits of weights in the products that the machine prefers."""
    preferred = [spec.rows(op)[:1] for op in ("conv2d", "matmul")]
    return min((row.inputs[1].dtype.bits for rows in preferred for row in rows), default=8)


def _is_depthwise(node: Node) -> bool:
    return int(node.call.attrs.groups) > 1 and node.constants[1].shape[-1] == 1


def _reads_norm(nodes: Mapping[str, Node], product: Node) -> bool:
    source = nodes.get(product.inputs[0])
    while source is not None and source.op in MOVES:
        source = nodes.get(source.inputs[0])
    return source is not None and source.op in ("nn.layer_norm", "nn.rms_norm")


def _is_residual(nodes: Mapping[str, Node], node: Node) -> bool:
    both = [nodes[name].shape for name in node.inputs if name in nodes]
    return node.op == "add" and both == [node.shape, node.shape]
