"""PP-OCRv4's text models: the ONNX files as PaddlePaddle exported them, dynamic dimensions kept."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.zoo.packages import package_file


def recogniser(path: Path) -> None:
    """A convolution-transformer hybrid; its characters are in the metadata."""
    _copy("ch_PP-OCRv4_rec_infer.onnx", path)


def detector(path: Path) -> None:
    """A segmentation network with a feature pyramid."""
    _copy("ch_PP-OCRv4_det_infer.onnx", path)


def classifier(path: Path) -> None:
    """Tells a line of text from the same line upside down."""
    _copy("ch_ppocr_mobile_v2.0_cls_infer.onnx", path)


def _copy(name: str, path: Path) -> None:
    shutil.copyfile(package_file("rapidocr_onnxruntime", f"models/{name}"), path)
