"""Split channels of a tensor into copies that each carry a part, where a product adds them up.

    f(x W + b) V  =>  (f(x W' + b') a + o) V' - o V'

with ``W'`` and ``b'`` the columns of the copies, ``V'`` their rows, ``a = 1/m`` for a channel with
``m`` copies, and ``o`` offsets that make a step ``d`` of the copies' codes m steps of their sum:

    sum_i round(x / (m d) + i / m) = round(x / d)  but for a constant     (Hermite's identity)

R. Zhao et al., Outlier Channel Splitting, arXiv 1901.09504, equation 2 and section 3.3
(quantization-aware splitting) for the inputs of a product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tvm import ir, relax

from hago.dataflow import Dataflow, Node, read_dataflow
from hago.prepare.scale_channels import is_weighted
from hago.rebuild import Values, rebuild, substitute, with_leaves

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
ELEMENTWISE = frozenset(
    {"add", "subtract", "multiply", "divide", "clip", "nn.relu", "nn.gelu", "nn.gelu_tanh",
     "nn.silu", "sigmoid", "tanh", "nn.leakyrelu", "minimum", "maximum"}
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Split:
    """``copies`` int64 [C] of each channel, at least one; ``step`` of the codes to come.

    A step of 0 leaves the offsets out. Each channel is divided by its ``scale`` (positive, [C]) as
    well, which the product takes back.
    """

    copies: Ints
    step: float
    scale: Floats | None = None

    def __post_init__(self) -> None:
        if self.copies.ndim != 1 or not np.all(self.copies >= 1):
            raise ValueError("every channel has one copy or more")
        if self.scale is not None and not np.all(self.scale > 0):
            raise ValueError("a scale is positive")

    @property
    def channels(self) -> Ints:
        """Which channel each one afterwards is a part of, [C']: the first copies come first."""
        more = np.repeat(np.arange(len(self.copies)), self.copies - 1)
        return np.concatenate([np.arange(len(self.copies)), more])

    @property
    def parts(self) -> Floats:
        """The part of its channel that each copy carries, divided by the scale, [C']."""
        return (1 / (self.copies * self._scale)[self.channels]).astype(np.float32)

    @property
    def _scale(self) -> Floats:
        return np.ones(len(self.copies), np.float32) if self.scale is None else self.scale

    def rows(self, weight: Floats, axis: int) -> Floats:
        """``weight`` with a row for each copy along ``axis``, times the scale."""
        shape = [-1 if each == axis else 1 for each in range(weight.ndim)]
        rows = np.take(weight * self._scale.reshape(shape), self.channels, axis=axis)
        return np.asarray(rows, np.float32)

    @property
    def offsets(self) -> Floats:
        """What is added to each copy, [C']; nothing to whole channels."""
        count = self.copies[self.channels]
        later = np.concatenate([np.arange(1, each) for each in self.copies])
        place = np.concatenate([np.zeros(len(self.copies)), later])
        return (((place + 0.5) / count - 0.5) * self.step).astype(np.float32)


def split_channels(module: ir.IRModule, splits: Mapping[str, Split]) -> ir.IRModule:
    """``module`` with the tensors ``splits`` split; each must have a :func:`region_of`."""
    dataflow = read_dataflow(module)
    nodes, users = dataflow.by_name(), dataflow.users()
    inside: dict[str, Split] = {}
    for name, split in splits.items():
        region = region_of(dataflow, nodes[name])
        assert region, f"{name}: its channels cannot be copied"
        inside.update(dict.fromkeys(region, split))
    readers = {user: split for name, split in splits.items() for user, _ in users[name]}

    def rewrite(builder: relax.BlockBuilder, binding: relax.Binding, values: Values) -> relax.Expr:
        name = str(binding.var.name)
        value = substitute(binding.value, values)
        if name not in inside and name not in readers:
            return value
        constants, shift = _constants(nodes[name], readers.get(name), inside.get(name))
        value = with_leaves(value, {arg: relax.const(array) for arg, array in constants.items()})
        if shift.any():
            value = relax.op.subtract(builder.emit(value), relax.const(shift))
        return _in_parts(builder, value, splits[name]) if name in splits else value

    return rebuild(module, rewrite)


def region_of(dataflow: Dataflow, node: Node) -> tuple[str, ...]:
    """The operations that compute ``node``, back to products with constant weights.

    Empty where something else computes or reads one of them, or where what reads ``node`` is no
    product that sums over its channels.
    """
    nodes, users = dataflow.by_name(), dataflow.users()
    readers = [(nodes.get(user), arg) for user, arg in users.get(node.name, ())]
    if not all(reader is not None and sums_channels(reader) and not arg for reader, arg in readers):
        return ()
    region, waiting = [node.name], [node]
    while waiting:
        each = waiting.pop()
        if sums_channels(each):
            continue
        if each.op not in ELEMENTWISE or each.shape != node.shape:
            return ()
        new = [name for arg, name in enumerate(each.inputs) if arg not in each.constants]
        if not all(name in nodes for name in new):
            return ()
        waiting += [nodes[name] for name in new if name not in region]
        region += [name for name in new if name not in region]
    others = {user for name in region[1:] for user, _ in users[name]}
    return tuple(region) if others <= set(region) else ()


def sums_channels(node: Node) -> bool:
    """Whether each output channel of ``node`` is a sum over all input channels."""
    return is_weighted(node) and (node.op == "matmul" or int(node.call.attrs.groups) == 1)


def _constants(
    node: Node, reads: Split | None, gives: Split | None
) -> tuple[dict[int, Floats], Floats]:
    """The constants of ``node`` by argument, and what the offsets of ``reads`` add to it."""
    constants, shift = dict(node.constants), np.zeros((), np.float32)
    if reads is not None:
        axis = 0 if node.op == "matmul" else 3
        rows = reads.rows(constants[1], axis)
        spread = np.tensordot(rows.astype(np.float64), reads.offsets, axes=(axis, 0))
        shift = (spread if node.op == "matmul" else spread.sum(axis=(1, 2))).astype(np.float32)
        constants[1] = rows
    if gives is not None:
        constants = {arg: _copied(node, array, gives) for arg, array in constants.items()}
        shift = shift[gives.channels] if shift.ndim else shift
    return constants, shift


def _copied(node: Node, constant: Floats, split: Split) -> Floats:
    """``constant`` of ``node`` with its output channels copied."""
    axis = 0 if node.op == "nn.conv2d" else constant.ndim - 1
    if constant.ndim == 0 or constant.shape[axis] != len(split.copies):
        return constant
    return np.take(constant, split.channels, axis=axis)


def _in_parts(builder: relax.BlockBuilder, value: relax.Expr, split: Split) -> relax.Expr:
    part = relax.op.multiply(builder.emit(value), relax.const(split.parts))
    if not split.step:
        return part
    return relax.op.add(builder.emit(part), relax.const(split.offsets))
