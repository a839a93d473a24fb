"""ONNX -> Relax: the importer's one public function, read from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import tvm

from hago.frontend.onnx_convert import build_module
from hago.frontend.onnx_file import load_model, opset_of
from hago.frontend.onnx_inputs import fixed_inputs
from hago.frontend.onnx_operators import check_operators

_AS_DECLARED: Mapping[str, Sequence[int]] = MappingProxyType({})


def import_onnx(
    path: str | Path, shapes: Mapping[str, Sequence[int]] = _AS_DECLARED
) -> tvm.IRModule:
    """The model in `path` as a Relax module with static shapes and constants inline.

    Args:
        path: an ``.onnx`` file, opset 7 to 28; it is read as data and never executed.
        shapes: input name -> sizes, for inputs with dynamic dimensions.

    Returns:
        A module with one function ``main`` of one dataflow block. Its attributes
        ``hago.input_names`` and ``hago.output_names`` hold the file's names in order. Half and
        double precision become float32; integer-quantized operators become quantize/dequantize
        around float ones.

    Raises:
        ModelError: the file, a shape or an operator cannot be used; says which and why.
    """
    path = Path(path)
    model = load_model(path)
    check_operators(model.graph, path)
    inputs = fixed_inputs(model.graph, shapes, path)
    return build_module(model.graph, inputs, opset_of(model), path)
