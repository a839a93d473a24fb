"""Weights that nobody trained but that behave as if: repeatable, and no layer dies or explodes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGE = (1, 3, 224, 224)
_BATCH = 8


def images(count: int, seed: int) -> Tensor:
    """Seeded pictures [count, 3, 224, 224], mean 0 and variance 1: blobs of six sizes.

    Pictures differ in how much of each size they have, from smooth as a photograph to nearly
    white noise. Batch statistics taken on pictures of one kind only would make the network
    amplify any other kind without bound.
    """
    generator = torch.Generator().manual_seed(seed)
    octaves = torch.stack(
        [
            _enlarged(torch.randn(count, 3, size, size, generator=generator))
            for size in (7, 14, 28, 56, 112, 224)
        ]
    )
    falling = 4 * torch.rand(1, count, 1, 1, 1, generator=generator) - 2
    levels = torch.arange(1, 7).reshape(6, 1, 1, 1, 1)
    total = (octaves * levels**falling).sum(0)
    mean, deviation = total.mean((1, 2, 3), keepdim=True), total.std((1, 2, 3), keepdim=True)
    return (total - mean) / deviation


def _enlarged(noise: Tensor) -> Tensor:
    return F.interpolate(noise, size=IMAGE[2:], mode="bilinear", align_corners=False)


def seed_convolutions(model: nn.Module, seed: int) -> None:
    """He-normal convolutions, spread-out BatchNorm weights, statistics measured on `images`.

    BatchNorm weights of a trained network vary between channels; a constant one would make
    per-channel quantization look better than it is. The one that ends a residual branch (the
    last in a module's `body`) is smaller, as training leaves it: with branches as strong as
    their shortcuts a random deep network amplifies any disturbance.
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
    for branch in (m.body for m in model.modules() if hasattr(m, "body")):
        last = [m for m in branch.modules() if isinstance(m, nn.BatchNorm2d)][-1]
        nn.init.uniform_(last.weight, 0.1, 0.5, generator=generator)
    _measure_statistics(model, images(_BATCH, seed))


def centre_logits(model: nn.Module, head: nn.Linear, seed: int) -> None:
    """Shift the biases of `head` so that over `images` every class is as likely.

    Otherwise what all pictures have in common decides, the same class wins for each of them,
    and comparing the winners of two versions of the model says nothing.
    """
    model.eval()
    with torch.no_grad():
        mean = torch.cat([model(image[None]) for image in images(_BATCH, seed)]).mean(0)
        head.bias -= mean


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
