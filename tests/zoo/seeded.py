"""Weights that nobody trained but that behave as if: repeatable, and no layer dies or explodes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGE = (1, 3, 224, 224)
_BATCH = 8


def images(count: int, seed: int) -> Tensor:
    """Seeded pictures [count, 3, 224, 224], mean 0 and variance 1: blobs of six sizes.

    Their spectrum falls with frequency as a photograph's does, so that batch statistics taken
    on them are not those of white noise, which a convolution averages away.
    """
    generator = torch.Generator().manual_seed(seed)
    octaves = [
        _enlarged(torch.randn(count, 3, size, size, generator=generator))
        for size in (7, 14, 28, 56, 112, 224)
    ]
    total = sum(octave / (level + 1) for level, octave in enumerate(octaves))
    mean, deviation = total.mean((1, 2, 3), keepdim=True), total.std((1, 2, 3), keepdim=True)
    return (total - mean) / deviation


def _enlarged(noise: Tensor) -> Tensor:
    return F.interpolate(noise, size=IMAGE[2:], mode="bilinear", align_corners=False)


def seed_convolutions(model: nn.Module, seed: int) -> None:
    """He-normal convolutions, spread-out BatchNorm weights, statistics measured on `images`.

    BatchNorm weights of a trained network vary between channels; a constant one would make
    per-channel quantization look better than it is.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0.0, 0.2, generator=generator)
        if isinstance(module, nn.Linear):
            seed_linear(module, module.in_features**-0.5, generator)
    _measure_statistics(model, images(_BATCH, seed))


def _measure_statistics(model: nn.Module, batch: Tensor) -> None:
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the running statistics become the plain average over batches
    model.train()
    with torch.no_grad():
        model(batch)
    model.eval()


def seed_linear(module: nn.Linear, deviation: float, generator: torch.Generator) -> None:
    """Normal weights of the given deviation and small biases."""
    nn.init.normal_(module.weight, 0.0, deviation, generator=generator)
    if module.bias is not None:
        nn.init.normal_(module.bias, 0.0, 0.02, generator=generator)


def seed_transformer(model: nn.Module, seed: int, deviation: float = 0.02) -> None:
    """Normal weights (BERT's and DeiT's 0.02), LayerNorm weights spread around one."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            seed_linear(module, deviation, generator)
        if isinstance(module, nn.Embedding | nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, deviation, generator=generator)
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0.0, 0.1, generator=generator)
