"""Operators of TensorFlow Lite where TVM's converter is wrong or loses what later stages need."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from tvm import relax
from tvm.relax.frontend.tflite.tflite_frontend import OperatorConverter


class Converter(OperatorConverter):  # type: ignore[misc]  # TVM has no types
    """TVM's converter with rows of its own."""

    def __init__(self, model: Any, subgraph: Any, table: Any, builder: relax.BlockBuilder) -> None:
        super().__init__(model, subgraph, table, builder)
        own = {"DEQUANTIZE": _dequantize, "EXPAND_DIMS": _expand_dims, "PRELU": _prelu,
               "RESHAPE": _reshape}  # fmt: skip
        for name, row in own.items():
            self.convert_map[name] = functools.partial(row, self, self.convert_map[name])


def _dequantize(converter: Converter, theirs: Any, op: Any) -> relax.Expr | None:
    """Half-precision weights that DENSIFY filled up are constants, like those in the file."""
    (source,), (target,) = converter.get_input_tensors(op), converter.get_output_tensors(op)
    if not converter.is_prefetched(source.tensor_idx) or source.qnn_params:
        found: relax.Expr | None = theirs(op=op)
        return found
    value = np.asarray(converter.get_prefetched_node(source.tensor_idx), np.float32)
    converter.set_prefetched_node(target.tensor_idx, value)
    return None


def _expand_dims(converter: Converter, theirs: Any, op: Any) -> relax.Expr:
    """TVM's calls Relax with an argument too many; an axis more changes no number of a codec."""
    data, axis = converter.get_input_tensors(op)
    where = int(np.asarray(converter.get_tensor_value(axis)).reshape(()))
    return relax.op.expand_dims(converter.get_tensor_expr(data), where)


def _reshape(converter: Converter, theirs: Any, op: Any) -> relax.Expr:
    """To a shape that was computed, TVM's cannot: all shapes of a file are in it, this one too."""
    data, *shape = converter.get_input_tensors(op)
    (result,) = converter.get_output_tensors(op)
    is_computed = bool(shape) and converter.has_expr(shape[0].tensor_idx)
    if not is_computed or (data.qnn_params and not converter.has_same_qnn_params(data, result)):
        return theirs(op=op)
    extents = [int(extent) for extent in converter.get_tensor_shape(result)]
    return relax.op.reshape(converter.get_tensor_expr(data), extents)


def _prelu(converter: Converter, theirs: Any, op: Any) -> relax.Expr:
    """One slope a channel stays one: TVM broadcasts and flattens, so that nothing fuses."""
    data, slope = converter.get_input_tensors(op)
    shape = [int(extent) for extent in converter.get_tensor_shape(slope)]
    if data.qnn_params or not shape or int(np.prod(shape)) != shape[-1]:
        return theirs(op=op)
    per_channel = relax.op.reshape(converter.get_tensor_expr(slope), shape[-1:])
    return relax.op.nn.prelu(converter.get_tensor_expr(data), per_channel, axis=-1)
