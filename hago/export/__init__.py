"""Models in the formats of other runtimes."""

from hago.export.onnx import export_onnx

__all__ = ["export_onnx"]
