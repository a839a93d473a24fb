"""Gradient descent on drawn batches: the loop that all learning methods share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hago.gradient import torch

if TYPE_CHECKING:
    from torch import Tensor

Loss = Callable[["Tensor", float], "Tensor"]  # of the batch's indices, and the progress 0 to 1


@dataclass(frozen=True, eq=False)
class Learned:
    """Tensors that learn at one rate."""

    tensors: Sequence[Tensor]
    rate: float


def descend(
    loss: Loss,
    learned: Sequence[Learned],
    steps: int,
    count: int,
    batch: int,
    generator: object,
    *,
    cooled: bool = False,
) -> None:
    """``steps`` steps of Adam (Kingma and Ba, arXiv 1412.6980) on ``learned``, in place.

    Each step draws ``batch`` of ``count`` indices, with replacement. Where ``cooled``, the rates
    fall to zero along half a cosine (Loshchilov and Hutter, arXiv 1608.03983, equation 5).
    """
    groups = [{"params": list(each.tensors), "lr": each.rate} for each in learned]
    optimizer = torch.optim.Adam(groups)
    cooling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps) if cooled else None
    for step in range(steps):
        picked = torch.randint(count, (min(batch, count),), generator=generator)
        optimizer.zero_grad()
        loss(picked, step / steps).backward()
        optimizer.step()
        if cooling is not None:
            cooling.step()


def seeded(seed: int) -> object:
    """A generator of random numbers of its own."""
    return torch.Generator().manual_seed(seed)
