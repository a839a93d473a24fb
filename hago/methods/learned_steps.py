"""Quantization steps as parameters: ``s * exp(t)``, with LSQ's gradient.

Esser et al., Learned Step Size Quantization, arXiv 1902.08153, equations 1 and 3. The exponent
keeps a step positive and makes one learning rate suit steps of every size, which is what the
paper's gradient scale is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hago.gradient import Hooks, torch
from hago.gradient.fake_quantize import round_integer
from hago.graph import Edge, QuantModel
from hago.methods.reconstruction import BlockData
from hago.scheme import PerAxis, PerTensor, TensorQuant

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class LearnedStep:
    """The numbers that ``edges`` share; ``exponent`` is learned, of the shape of their scale."""

    edges: tuple[Edge, ...]
    quant: TensorQuant
    exponent: Tensor

    def round(self, real: Tensor) -> Tensor:
        """``real`` fake-quantized with the step as it is now."""
        return round_integer(real, *self.numbers(real.ndim), self.quant.scheme.dtype)

    def numbers(self, rank: int) -> tuple[Tensor, Tensor]:
        """Scale and zero point as they are now, broadcastable to a tensor of ``rank`` axes."""
        scale = torch.tensor(self.quant.scale) * self.exponent.exp()
        zero_point = torch.tensor(self.quant.zero_point).to(torch.float32)
        return _spread(scale, self.quant, rank), _spread(zero_point, self.quant, rank)

    def learned(self) -> dict[Edge, TensorQuant]:
        """The numbers as they are now."""
        factor = self.exponent.detach().exp().numpy()
        quant = TensorQuant(
            self.quant.scheme, self.quant.scale * factor, self.quant.zero_point
        )
        return dict.fromkeys(self.edges, quant)


def learned_step(quant: TensorQuant, *edges: Edge) -> LearnedStep:
    """A step that starts at that of ``quant``."""
    return LearnedStep(edges, quant, torch.zeros(quant.scale.shape, requires_grad=True))


def activation_steps(model: QuantModel, data: BlockData) -> list[LearnedStep]:
    """A step for each integer activation that operations of the block are the first to read."""
    inside, found = set(data.block.nodes), []
    for edges in activation_groups(model):
        readers = {edge.dst for edge in edges}
        if readers & inside and not readers & data.done:
            found.append(learned_step(model.quants[edges[0]], *edges))
    return found


def step_hooks(steps: Sequence[LearnedStep]) -> Hooks:
    """The hooks that round by ``steps``."""
    return {(edge.dst, edge.arg): step.round for step in steps for edge in step.edges}


def activation_groups(model: QuantModel) -> list[tuple[Edge, ...]]:
    """The integer activation edges of the strategy, those with shared numbers together."""
    group_of = {edge: number for number, group in enumerate(model.graph.tied) for edge in group}
    groups: dict[object, list[Edge]] = {}
    for edge, scheme in model.strategy.items():
        if scheme.dtype.is_integer and not edge.is_constant:
            groups.setdefault((group_of.get(edge, edge), scheme), []).append(edge)
    return [tuple(edges) for edges in groups.values()]


def _spread(numbers: Tensor, quant: TensorQuant, rank: int) -> Tensor:
    """Numbers of the shape of the scale, broadcastable to a tensor of ``rank`` axes."""
    granularity = quant.scheme.granularity
    if isinstance(granularity, PerTensor):
        return numbers
    axis = granularity.axis % rank
    if isinstance(granularity, PerAxis):
        return numbers.reshape([-1 if i == axis else 1 for i in range(rank)])
    return numbers.repeat_interleave(granularity.size, axis)
