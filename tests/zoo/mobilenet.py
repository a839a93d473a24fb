"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381), width 1.0."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from tests.zoo.export import export
from tests.zoo.seeded import IMAGE, centre_logits, seed_convolutions

# Table 2 of the paper: expansion, channels, repeats, stride of the first.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenetv2(path: Path) -> None:
    """Depthwise convolutions, ReLU6 and linear bottlenecks, seeded weights."""
    model = MobileNetV2()
    seed_convolutions(model, seed=0)
    centre_logits(model, model.head, seed=0)
    export(model, {"input": torch.zeros(IMAGE)}, "logits", path)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project without activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.is_residual = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            _conv(inputs, hidden, 1) if expansion > 1 else nn.Identity(),
            _conv(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.is_residual else self.body(x)


class MobileNetV2(nn.Module):
    """[1, 3, 224, 224] -> logits [1, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        inputs = 32
        for expansion, outputs, repeats, first_stride in _STAGES:
            for index in range(repeats):
                stride = first_stride if index == 0 else 1
                blocks.append(InvertedResidual(inputs, outputs, stride, expansion))
                inputs = outputs
        self.features = nn.Sequential(_conv(3, 32, 3, 2), *blocks, _conv(inputs, 1280, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.features(x)), 1))
