"""An ONNX graph under construction from a channels-last module.

ONNX keeps images channels-first. A tensor of four axes is therefore written in one order (its
operator's) and transposed at most once, when the first reader wants the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from tvm import relax

from hago.dataflow import constant_value, is_constant, tensor_type
from hago.scheme import Array

FIRST, LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # permutations to channels-first, and back


@dataclass(eq=False)
class Writer:
    """Collects nodes and initializers. A *layout* is True for channels-first, False as it is."""

    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    made_by: dict[str, NodeProto] = field(default_factory=dict)
    reads: dict[str, int] = field(default_factory=dict)
    _places: dict[tuple[str, bool], str] = field(default_factory=dict)
    _names: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    _values: dict[str, Array] = field(default_factory=dict)

    def bind(self, name: str, place: str, first: bool = False) -> None:
        """The value of binding ``name`` is the ONNX tensor ``place``."""
        self._places[name, first] = place

    def is_first(self, expr: relax.Expr) -> bool:
        """Whether ``expr`` was written channels-first."""
        return isinstance(expr, relax.Var) and (str(expr.name), True) in self._places

    def value(self, expr: relax.Expr, first: bool = False) -> str:
        """The ONNX name of ``expr`` in a layout."""
        if is_constant(expr):
            return self.constant(in_layout(constant_value(expr), first))
        name = str(expr.name)
        if (name, first) not in self._places:
            self._places[name, first] = self._transposed(self._places[name, not first], first)
        return self._places[name, first]

    def _transposed(self, place: str, first: bool) -> str:
        """``place`` in the other layout; D stays by its reader, as its codes are transposed."""
        order, suffix = (FIRST, "nchw") if first else (LAST, "nhwc")
        source = self.made_by.get(place)
        if source is None or source.op_type != "DequantizeLinear" or source.attribute:
            return self.node("Transpose", [place], f"{place}_{suffix}", perm=order)
        codes = self._transposed(source.input[0], first)
        return self.node("DequantizeLinear", [codes, *source.input[1:]], f"{place}_{suffix}")

    def node(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        """One operator; the name of what it computes, which is unique."""
        made = helper.make_node(op, inputs, [output], name=output, **attributes)
        self.nodes.append(made)
        self.made_by[output] = made
        return output

    def constant(self, value: Array) -> str:
        """An initializer; equal ones are shared."""
        key = (str(value.dtype), value.shape, value.tobytes())
        if key not in self._names:
            name = self._names[key] = f"constant_{len(self._names)}"
            self._values[name] = value
            packed = np.ascontiguousarray(value).reshape(value.shape)
            self.initializers.append(numpy_helper.from_array(packed, name))
        return self._names[key]

    def known(self, name: str) -> Array:
        """The value of the initializer ``name``."""
        return self._values[name]


def in_layout(value: Array, first: bool) -> Array:
    """A constant in a layout: with four axes, as it broadcasts against tensors of four axes."""
    if not first or value.ndim == 0:
        return value
    return value.reshape((1,) * (4 - value.ndim) + value.shape).transpose(FIRST)


def onnx_type(dtype: str) -> int:
    """ONNX's number of an element type."""
    if dtype == "bfloat16":
        return int(onnx.TensorProto.BFLOAT16)
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def rank_of(expr: relax.Expr) -> int:
    return len(tensor_type(expr)[0])
