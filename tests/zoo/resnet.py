"""ResNet-18 and ResNet-50 (He et al. 2015, arXiv:1512.03385; stride in the 3x3 as in v1.5)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from tests.zoo.export import export
from tests.zoo.seeded import IMAGE, centre_logits, seed_convolutions

_WIDTHS = (64, 128, 256, 512)


def resnet18(path: Path) -> None:
    """Two basic blocks a stage, seeded weights."""
    _write(ResNet(Basic, (2, 2, 2, 2)), path)


def resnet50(path: Path) -> None:
    """Bottleneck blocks, seeded weights."""
    _write(ResNet(Bottleneck, (3, 4, 6, 3)), path)


def _write(model: ResNet, path: Path) -> None:
    seed_convolutions(model, seed=0)
    centre_logits(model, model.head, seed=0)
    export(model, {"input": torch.zeros(IMAGE)}, "logits", path)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Basic(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(inputs, width, 3, stride), nn.ReLU(), _conv(width, width, 3)
        )
        self.shortcut = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 beside a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(inputs, width, 1),
            nn.ReLU(),
            _conv(width, width, 3, stride),
            nn.ReLU(),
            _conv(width, 4 * width, 1),
        )
        self.shortcut = _shortcut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    is_same = stride == 1 and inputs == outputs
    return nn.Identity() if is_same else _conv(inputs, outputs, 1, stride)


class ResNet(nn.Module):
    """[1, 3, 224, 224] -> logits [1, 1000]."""

    def __init__(self, block: type[Basic] | type[Bottleneck], depths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        blocks: list[nn.Module] = []
        inputs = 64
        for stage, (width, depth) in enumerate(zip(_WIDTHS, depths, strict=True)):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(inputs, width, stride))
                inputs = width * block.expansion
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))
