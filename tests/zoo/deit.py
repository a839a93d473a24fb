"""DeiT-tiny (Touvron et al. 2020, arXiv:2012.12877) without the distillation token."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from tests.zoo.export import export
from tests.zoo.seeded import IMAGE, centre_logits, seed_transformer

_DEPTH, _WIDTH, _HEADS, _PATCH, _PATCHES = 12, 192, 3, 16, 196


def deit_tiny(path: Path) -> None:
    """Pre-norm transformer over 16x16 patches, seeded weights."""
    model = DeiT()
    # 0.02 suits a width of 768; the same variance of a sum over 192 terms needs twice that.
    seed_transformer(model, seed=0, deviation=0.04)
    centre_logits(model, model.head, seed=0)
    export(model, {"input": torch.zeros(IMAGE)}, "logits", path)


class Attention(nn.Module):
    """One product makes queries, keys and values, as in the reference implementation."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(_WIDTH, 3 * _WIDTH)
        self.projection = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.shape[1]
        split = self.qkv(x).reshape(1, tokens, 3, _HEADS, _WIDTH // _HEADS)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        scores = (query * (_WIDTH // _HEADS) ** -0.5) @ key.transpose(-2, -1)
        mixed = scores.softmax(dim=-1) @ value
        return self.projection(mixed.transpose(1, 2).reshape(1, tokens, _WIDTH))


class Block(nn.Module):
    """Attention and a GELU network, each behind a LayerNorm and beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(_WIDTH, 1e-6), nn.LayerNorm(_WIDTH, 1e-6)
        self.attention = Attention()
        self.network = nn.Sequential(
            nn.Linear(_WIDTH, 4 * _WIDTH), nn.GELU(), nn.Linear(4 * _WIDTH, _WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        return x + self.network(self.norm_2(x))


class DeiT(nn.Module):
    """[1, 3, 224, 224] -> logits [1, 1000]."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.patches = nn.Conv2d(3, _WIDTH, _PATCH, _PATCH)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, _WIDTH, generator=generator))
        positions = torch.randn(1, _PATCHES + 1, _WIDTH, generator=generator)
        self.positions = nn.Parameter(0.02 * positions)
        self.blocks = nn.Sequential(*(Block() for _ in range(_DEPTH)))
        self.norm = nn.LayerNorm(_WIDTH, 1e-6)
        self.head = nn.Linear(_WIDTH, 1000)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat((self.token, patches), dim=1) + self.positions
        return self.head(self.norm(self.blocks(tokens))[:, 0])
