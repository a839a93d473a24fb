"""A model file of any format that hago reads: a table by the end of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tvm

from hago.errors import ModelError
from hago.frontend.onnx import import_onnx
from hago.frontend.relay import import_relay
from hago.frontend.tflite import import_tflite

Shapes = Mapping[str, Sequence[int]]


def import_model(path: Path, shapes: Shapes) -> tvm.IRModule:
    """The model in ``path`` as a Relax module; ONNX where the name does not tell.

    ``shapes`` fixes the dynamic dimensions of inputs. Raises ModelError.
    """
    return IMPORTERS.get(path.suffix.lower(), import_onnx)(path, shapes)


def _relay(path: Path, shapes: Shapes) -> tvm.IRModule:
    if shapes:
        raise ModelError(
            f"{path}: its shapes are fixed",
            fact=f"shapes were given for {', '.join(shapes)}",
            way_out="Leave out --shape.",
        )
    return import_relay(path)


def _torch(path: Path, shapes: Shapes) -> tvm.IRModule:
    raise ModelError(
        f"{path}: a file of PyTorch's",
        fact="such files may run code when they are read, so hago leaves that to you",
        way_out="Load the program yourself (torch.export.load) and give hago.compile_model what "
        "hago.import_torch(program) returns, or export the model to ONNX.",
    )


IMPORTERS: dict[str, Callable[[Path, Shapes], tvm.IRModule]] = {
    ".onnx": import_onnx,
    ".relay": _relay,
    ".txt": _relay,
    ".tflite": import_tflite,
    **dict.fromkeys((".pt2", ".pt", ".pth"), _torch),
}
