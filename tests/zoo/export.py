"""From a torch module to an ONNX file of fixed shapes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

OPSET = 17


def export(model: nn.Module, inputs: Mapping[str, Tensor], output: str, path: Path) -> None:
    """Write `model` in inference mode, weights inside the file.

    The TorchScript-based exporter is used because it writes opset 17 directly; the newer one
    writes 18 and converts down.
    """
    model.eval()
    with torch.no_grad(), warnings.catch_warnings():
        # It warns that it is the older of two, and of shapes traced as constants: both wanted.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=[output],
            opset_version=OPSET,
            dynamo=False,
        )
