"""Random but valid inputs: pixels as normalised images have them, tokens out of a vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from hago.scheme import Array

Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape], Array]

_VOCABULARY = 30522  # of BERT's uncased WordPiece tokens


def _pixels(random: np.random.Generator, shape: Shape) -> Array:
    """Normalised pixels: zero mean, unit variance."""
    return random.standard_normal(shape, dtype=np.float32)


def _tokens(random: np.random.Generator, shape: Shape) -> Array:
    return random.integers(0, _VOCABULARY, shape, dtype=np.int64)


def _ones(random: np.random.Generator, shape: Shape) -> Array:
    """Every token takes part."""
    return np.ones(shape, np.int64)


def _zeros(random: np.random.Generator, shape: Shape) -> Array:
    """One segment."""
    return np.zeros(shape, np.int64)


# By the input's name; anything else is an image.
DRAWS: Mapping[str, Draw] = {
    "input_ids": _tokens,
    "attention_mask": _ones,
    "token_type_ids": _zeros,
}


def draw_sample(shapes: Mapping[str, Shape], seed: int) -> dict[str, Array]:
    """One input of each name: the same for the same seed."""
    random = np.random.default_rng(seed)
    return {name: DRAWS.get(name, _pixels)(random, shape) for name, shape in shapes.items()}
