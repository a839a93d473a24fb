"""dequantize(codes of w) => w: what depends on constants alone is computed now.

A module in QDQ form that was not realized keeps its weights so; kernels want them as values.
"""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from hago.dataflow import flat_args, is_constant, op_name
from hago.realize.interpret import evaluate
from hago.rebuild import Values, rebuild, substitute


def fold_dequantized_weights(module: ir.IRModule) -> ir.IRModule:
    """``module`` with each dequantize of a constant replaced by its float32 values."""

    def rewrite(
        builder: relax.BlockBuilder, binding: relax.Binding, values: Values
    ) -> relax.Expr:
        value = binding.value
        if op_name(value) != "dequantize" or not all(is_constant(a) for a in flat_args(value)):
            return substitute(value, values)
        return relax.const(np.ascontiguousarray(evaluate(value, {})))

    return rebuild(module, rewrite)
