"""The judge: what a quantized or realized module means, in numpy.

Integer operations are exact (int64 inside, checked against int32 on the way out); float
operations compute in float32 in the order that the module states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import ir, relax

from hago.by_tvm import value_by_tvm
from hago.dataflow import constant_value, is_constant, op_name
from hago.realize.meanings import MEANINGS

Array = npt.NDArray[Any]


def interpret(module: ir.IRModule, inputs: Mapping[str, Array]) -> list[Array]:
    """The results of ``module["main"]`` on ``inputs`` (keyed by parameter name)."""
    main = module["main"]
    values: dict[str, Any] = {}
    for param in main.params:
        values[str(param.name)] = np.asarray(inputs[str(param.name)])
    for block in main.body.blocks:
        for binding in block.bindings:
            values[str(binding.var.name)] = evaluate(binding.value, values)
    result = evaluate(main.body.body, values)
    return list(result) if isinstance(result, tuple) else [result]


def evaluate(expr: relax.Expr, values: Mapping[str, Any]) -> Any:
    """The value of one expression, its variables looked up in ``values``."""
    if isinstance(expr, relax.Var):
        return values[str(expr.name)]
    if is_constant(expr):
        return constant_value(expr)
    if isinstance(expr, relax.Tuple):
        return tuple(evaluate(field, values) for field in expr.fields)
    if isinstance(expr, relax.TupleGetItem):
        return evaluate(expr.tuple_value, values)[int(expr.index)]
    if isinstance(expr, relax.ShapeExpr):
        return tuple(int(extent) for extent in expr.values)
    if isinstance(expr, relax.Call):
        return _call(expr, [evaluate(arg, values) for arg in expr.args])
    return _scalar(expr)


def _scalar(expr: relax.Expr) -> Any:
    """A primitive value (an axis, a bound) as a Python number, or as it is."""
    value = getattr(expr, "value", expr)
    return value.value if hasattr(value, "value") else value


def _call(call: relax.Call, args: Sequence[Any]) -> Any:
    """By its numpy meaning; what a float model alone has, and nothing quantizes, by TVM."""
    meaning = MEANINGS.get(op_name(call))
    return value_by_tvm(call, args) if meaning is None else meaning(call, *args)
