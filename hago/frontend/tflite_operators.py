"""Operators of TensorFlow Lite where TVM's converter is wrong or loses what later stages need."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from tvm import relax
from tvm.relax.frontend.tflite.tflite_frontend import OperatorConverter

from hago.frontend.building import closed_on_error


class Converter(OperatorConverter):  # type: ignore[misc]  # TVM has no types
    """TVM's converter with rows of its own."""

    def __init__(self, model: Any, subgraph: Any, table: Any, builder: relax.BlockBuilder) -> None:
        super().__init__(model, subgraph, table, builder)
        own = {"DEQUANTIZE": _dequantize, "PRELU": _prelu}
        for name, row in own.items():
            self.convert_map[name] = functools.partial(row, self, self.convert_map[name])

    def check_unsupported_ops(self) -> None:
        with closed_on_error(self.bb, Exception):
            super().check_unsupported_ops()

    def convert_op_to_relax(self) -> None:
        with closed_on_error(self.bb, Exception):
            super().convert_op_to_relax()


def _dequantize(converter: Converter, theirs: Any, op: Any) -> relax.Expr | None:
    """Half-precision weights that DENSIFY filled up are constants, like those in the file."""
    (source,), (target,) = converter.get_input_tensors(op), converter.get_output_tensors(op)
    if not converter.is_prefetched(source.tensor_idx) or source.qnn_params:
        found: relax.Expr | None = theirs(op=op)
        return found
    value = np.asarray(converter.get_prefetched_node(source.tensor_idx), np.float32)
    converter.set_prefetched_node(target.tensor_idx, value)
    return None


def _prelu(converter: Converter, theirs: Any, op: Any) -> relax.Expr:
    """One slope a channel stays one: TVM broadcasts and flattens, so that nothing fuses."""
    data, slope = converter.get_input_tensors(op)
    shape = [int(extent) for extent in converter.get_tensor_shape(slope)]
    if data.qnn_params or not shape or int(np.prod(shape)) != shape[-1]:
        return theirs(op=op)
    per_channel = relax.op.reshape(converter.get_tensor_expr(slope), shape[-1:])
    return relax.op.nn.prelu(converter.get_tensor_expr(data), per_channel, axis=-1)
