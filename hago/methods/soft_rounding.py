"""Rounding up or down as something that gradients can learn.

    W(a) = s exp(t) (clip(floor(W / s) + h(a) + z, low, high) - z)
    h(a) = clip(1.2 sigmoid(a) - 0.1, 0, 1)

Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, arXiv 2004.10568,
equations 21 to 24 (the rectified sigmoid is that of Louizos et al., arXiv 1712.01312). The step's
exponent t is 0, or learned beside a as in GENIE (Jeon et al., arXiv 2212.04780, section 3.2): the
floor stays that of the first step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hago.gradient import torch
from hago.graph import Edge
from hago.methods.learned_steps import LearnedStep, learned_step
from hago.scheme import Array, TensorQuant

if TYPE_CHECKING:
    from torch import Tensor

ZETA, GAMMA = 1.1, -0.1
_CHOSEN = 0.85  # the share h of a weight that was rounded up before


def rectified_sigmoid(alpha: Tensor) -> Tensor:
    """h(a): 0 and 1 are reached, at finite a (equation 23)."""
    return (alpha.sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def inverse_rectified_sigmoid(share: Tensor) -> Tensor:
    """The a with h(a) = ``share``, for 0 <= share <= 1."""
    return torch.logit((share - GAMMA) / (ZETA - GAMMA))


def regulariser(share: Tensor, beta: float) -> Tensor:
    """1 - |2 h - 1|^beta for each weight: 0 where it is decided, 1 half way (equation 24)."""
    return 1 - (2 * share - 1).abs().pow(beta)


def annealed_beta(progress: float, warm_up: float, first: float, last: float) -> float | None:
    """beta at ``progress`` (0 to 1): none during the warm-up, then from ``first`` to ``last``
    along half a cosine."""
    if progress < warm_up:
        return None
    share = (progress - warm_up) / (1 - warm_up)
    return last + (first - last) * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * share))))


@dataclass(frozen=True, eq=False)
class SoftRounding:
    """Weights of any shape with one learned number ``alpha`` each; ``step`` has their scales."""

    alpha: Tensor
    floor: Tensor
    step: LearnedStep

    def share(self) -> Tensor:
        """h(a): how far each weight is rounded up."""
        return rectified_sigmoid(self.alpha)

    def soft(self) -> Tensor:
        """The weights while they are undecided."""
        return self._real(self.floor + self.share())

    def hard(self) -> Tensor:
        """The weights once each is rounded to the side that it leans to."""
        return self._real(self.floor + (self.alpha >= 0))

    def codes(self) -> Array:
        """The codes of :meth:`hard`."""
        _, zero_point = self.step.numbers(self.floor.ndim)
        low, high = self.step.quant.scheme.dtype.code_range
        codes = (self.floor + (self.alpha >= 0) + zero_point).clamp(low, high)
        return codes.detach().numpy().astype(self.step.quant.scheme.dtype.storage)

    def _real(self, steps: Tensor) -> Tensor:
        scale, zero_point = self.step.numbers(self.floor.ndim)
        low, high = self.step.quant.scheme.dtype.code_range
        return ((steps + zero_point).clamp(low, high) - zero_point) * scale


def soft_rounding(
    weight: Tensor, quant: TensorQuant, codes: Array | None = None, *edges: Edge
) -> SoftRounding:
    """Undecided weights whose soft value is the float weight (where it is within the range).

    Where ``codes`` were chosen before, each may move to its neighbour on the side of the float
    weight, and starts close to its code: from half way to the float weight, hundreds of steps end
    farther from the float model, for they have to find again what was chosen before.
    """
    step = learned_step(quant, *edges)
    with torch.no_grad():
        scale, zero_point = step.numbers(weight.ndim)
        steps = weight / scale
        if codes is None:
            floor = steps.floor()
            share = steps - floor
        else:
            chosen = torch.from_numpy(codes) - zero_point
            floor = torch.where(steps < chosen, chosen - 1, chosen)
            share = torch.where(chosen > floor, _CHOSEN, 1 - _CHOSEN)
    return SoftRounding(inverse_rectified_sigmoid(share).requires_grad_(), floor, step)
