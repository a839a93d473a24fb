"""One ONNX node as its converter sees it, and the register of converters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnx.numpy_helper
import tvm
from tvm import relax

LARGEST = 2**31 - 1  # elements of a tensor: kernels index them in int32
Array = npt.NDArray[Any]
Attribute: TypeAlias = int | float | bytes | tuple[int, ...] | tuple[float, ...] | onnx.TensorProto

# Weights of these types are widened: float32 is the type that hago starts from.
_WIDENED = dict.fromkeys(
    ("float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
     "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn"),
    "float32",
)  # fmt: skip
# TVM has no usable 2-bit and 4-bit tensors; the codes are the same in a byte.
_CONTAINERS = {"int2": "int8", "uint2": "uint8", "int4": "int8", "uint4": "uint8"}


class NotConvertible(ValueError):
    """A node uses an attribute or an input in a way that has no Relax form; says which."""


@dataclass(frozen=True, eq=False)
class Node:
    """An ONNX node with Relax operands; a missing optional input is None."""

    op: str
    name: str
    inputs: tuple[relax.Expr | None, ...]
    attributes: Mapping[str, Attribute]
    outputs: int
    opset: int
    builder: relax.BlockBuilder

    def has(self, index: int) -> bool:
        """Whether the optional input is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def input(self, index: int) -> relax.Expr:
        """The operand, which must be given."""
        if not self.has(index):
            raise NotConvertible(f"input {index} is missing")
        return self.inputs[index]

    def array(self, index: int) -> Array:
        """The operand's value, which must be constant."""
        value = constant_of(self.input(index))
        if value is None:
            raise NotConvertible(f"input {index} is not constant")
        return value

    def shape(self, index: int) -> tuple[int, ...]:
        """The operand's static shape."""
        return static_shape(self.input(index))

    def integers(self, attribute: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """An attribute that is a list of integers."""
        value = self.attributes.get(attribute, default)
        assert isinstance(value, tuple)
        return tuple(int(v) for v in value)

    def number(self, attribute: str, default: float) -> float:
        """An attribute that is one number."""
        value = self.attributes.get(attribute, default)
        assert isinstance(value, int | float)
        return value

    def text(self, attribute: str, default: str) -> str:
        """An attribute that is a string."""
        value = self.attributes.get(attribute, default.encode())
        assert isinstance(value, bytes)
        return value.decode()

    def emit(self, expr: relax.Expr) -> relax.Var:
        """Bind `expr` to a variable of the function that is being built."""
        return self.builder.emit(expr)


Converter = Callable[[Node], relax.Expr | tuple[relax.Expr, ...]]
CONVERTERS: dict[tuple[str, str], Converter] = {}
MICROSOFT = "com.microsoft"


def converts(*ops: str, domain: str = "") -> Callable[[Converter], Converter]:
    """Register a converter for operators of one domain, in place of TVM's own."""

    def register(converter: Converter) -> Converter:
        CONVERTERS.update({(domain, op): converter for op in ops})
        return converter

    return register


def constant_of(expr: relax.Expr | None) -> Array | None:
    """The value of a Relax constant as numpy, None for anything else."""
    if not isinstance(expr, tvm.ir.GenericConst):
        return None
    value: Array = expr.value.numpy()
    return value


def static_shape(expr: relax.Expr) -> tuple[int, ...]:
    """Sizes of a tensor; `NotConvertible` if one depends on data."""
    shape = getattr(expr.ty, "shape", None)
    if shape is None or not all(isinstance(d, tvm.tirx.IntImm) for d in shape):
        raise NotConvertible("its shape depends on data")
    return tuple(int(d) for d in shape)


def dtype_of(expr: relax.Expr) -> str:
    """Element type as numpy spells it."""
    return str(expr.ty.dtype)


def widened(dtype: str) -> str:
    """The dtype that hago gives to tensors that the file stores as `dtype`."""
    return _WIDENED.get(dtype, _CONTAINERS.get(dtype, dtype))


def is_narrow(dtype: str) -> bool:
    """Whether values of `dtype` have fewer bits than any tensor of hago's: only constants may."""
    return dtype in _CONTAINERS or dtype.startswith(("float8", "float4"))


def constant(value: npt.ArrayLike) -> relax.Expr:
    """A Relax constant, half and double precision widened or narrowed to float32."""
    array = np.asarray(value)
    dtype = widened(str(array.dtype))
    # The dtype must be spelled out: without it Relax narrows int64 to int32.
    return relax.const(array.astype(dtype, order="C", copy=False), dtype)


def attribute_values(node: onnx.NodeProto) -> dict[str, Attribute]:
    """The node's attributes by name, lists as tuples."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
