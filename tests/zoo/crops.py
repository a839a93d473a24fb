"""Photographs with random crops and flips of them, where there are too few.

A crop is another picture to the network: other positions, other scales. Learned rounding needs
many, for the last layers of a network see few positions a picture.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from tests.zoo.photos import SIDE, Floats

_SMALLEST = 0.6  # of the side of the photograph


def with_crops(photos: Floats, count: int, seed: int) -> Floats:
    """At least ``count`` pictures of ``photos`` [n, 3, SIDE, SIDE]: each and then its crops.

    Half of the crops are flipped. Pictures of one photograph are neighbours, so that the last, by
    which methods judge what they learned, show nothing of the first.
    """
    random = np.random.default_rng(seed)
    each = -(-count // len(photos))
    found = [[photo, *(_crop(photo, random) for _ in range(each - 1))] for photo in photos]
    return np.stack([picture for pictures in found for picture in pictures])


def _crop(photo: Floats, random: np.random.Generator) -> Floats:
    side = round(SIDE * random.uniform(_SMALLEST, 1.0))
    top, left = random.integers(0, SIDE - side + 1, 2)
    part = photo[:, top : top + side, left : left + side]
    scaled = np.stack([_resized(channel) for channel in part])
    return scaled[:, :, ::-1] if random.random() < 0.5 else scaled


def _resized(channel: Floats) -> Floats:
    image = Image.fromarray(np.ascontiguousarray(channel, dtype=np.float32))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
