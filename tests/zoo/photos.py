"""Photographs as the zoo's image models want them.

    python -m tests.zoo.photos FOLDER OUT.npz

FOLDER holds JPEG or PNG files; each is cut to its central square, scaled to 224x224 where it is
larger or smaller, and normalised with ImageNet's mean and deviation.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 224
Floats = npt.NDArray[np.float32]
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet's training images, RGB
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})


def load_photos(folder: Path) -> Floats:
    """The photographs of ``folder`` in order of their names, float32 [n, 3, 224, 224].

    Raises FileNotFoundError where there is none.
    """
    images = [normalise(np.asarray(_squared(path))) for path in _photos(folder)]
    if not images:
        raise FileNotFoundError(f"{folder} holds no {', '.join(sorted(_SUFFIXES))}")
    return np.stack(images)


def normalise(rgb: npt.NDArray[np.uint8]) -> Floats:
    """``(rgb / 255 - mean) / deviation``, [h, w, 3] to [3, h, w]."""
    scaled = (rgb.astype(np.float32) / np.float32(255) - _MEAN) / _DEVIATION
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def _photos(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES)


def _squared(path: Path) -> Image.Image:
    """The central square of an image, SIDE pixels wide."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    side = min(rgb.size)
    left, top = ((extent - side) // 2 for extent in rgb.size)
    square = rgb.crop((left, top, left + side, top + side))
    return square if side == SIDE else square.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def main() -> None:
    """Write the photographs of a folder under the name of the models' input."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.photos", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path, metavar="OUT.npz")
    arguments = parser.parse_args()
    np.savez(arguments.output, input=load_photos(arguments.folder))


if __name__ == "__main__":
    main()
