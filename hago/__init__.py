"""hago: quantizes a trained model for one machine and compiles it, backend-aware."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# Public names and where they live. They are imported at first use: `import hago` must not wait
# for TVM, and a process that only runs an artifact must not load the compiler.
_HOMES = {
    "HagoError": "hago.errors",
    "compile_model": "hago.pipeline",
    "explain_edge": "hago.pipeline",
    "import_onnx": "hago.frontend.onnx",
    "import_relay": "hago.frontend.relay",
    "import_tflite": "hago.frontend.tflite",
    "import_torch": "hago.torch_program",
    "inspect_model": "hago.pipeline",
    "load": "hago.deploy.load",
    "load_data": "hago.calibrate",
    "load_spec": "hago.hardware.load",
}
__all__ = [
    "HagoError",
    "__version__",
    "compile_model",
    "explain_edge",
    "import_onnx",
    "import_relay",
    "import_tflite",
    "import_torch",
    "inspect_model",
    "load",
    "load_data",
    "load_spec",
]

if TYPE_CHECKING:
    from hago.calibrate import load_data
    from hago.deploy.load import load
    from hago.errors import HagoError
    from hago.frontend.onnx import import_onnx
    from hago.frontend.relay import import_relay
    from hago.frontend.tflite import import_tflite
    from hago.hardware.load import load_spec
    from hago.pipeline import compile_model, explain_edge, inspect_model
    from hago.torch_program import import_torch


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'hago' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
