"""A model with numbers -> the integer module that the machine computes."""

from __future__ import annotations

from tvm import ir

from hago.graph import QuantModel
from hago.realize.fixed_point import use_fixed_point
from hago.realize.insert import insert_qdq
from hago.realize.integerize import integerize
from hago.realize.narrow_codes import fold_narrow_codes
from hago.realize.tables import tabulate


def realize(model: QuantModel) -> ir.IRModule:
    """QDQ inserted, pushed into the operations, tables made; fixed point where the machine wants
    it."""
    return realize_qdq(insert_qdq(model), model.graph.requantize)


def realize_qdq(module: ir.IRModule, requantize: str = "float32") -> ir.IRModule:
    """The integer form of a module that carries quantize/dequantize already."""
    module = tabulate(fold_narrow_codes(integerize(module)))
    return use_fixed_point(module) if requantize == "fixed_point" else module
