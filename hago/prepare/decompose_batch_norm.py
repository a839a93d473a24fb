"""Write batch normalization with fixed statistics as one multiplication and one addition.

batch_norm(x, gamma, beta, mean, var)[0] => x * s + (beta - mean * s),
s = gamma / sqrt(var + epsilon)
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import (
    Array,
    constant,
    constant_of,
    dequantized_value,
    is_call,
    rank_of,
)
from hago.prepare.rewrite import Scope, rewrite


def decompose_batch_norm(module: tvm.IRModule) -> tvm.IRModule:
    """A module without ``nn.batch_norm`` where its parameters are constants."""
    return rewrite(module, _decompose)


def _value(parameter: relax.Expr, scope: Scope) -> Array | None:
    """Quantized models quantize these too, though no machine has use for it."""
    codec = scope.call(parameter, "dequantize")
    return constant_of(parameter) if codec is None else dequantized_value(codec)


def _decompose(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, "nn.batch_norm"):
        return None
    values = [_value(x, scope) for x in call.args[1:]]
    if any(v is None for v in values):
        return None
    # In double precision: the folded weights are then the nearest float32, whatever the order.
    gamma, beta, mean, var = (np.asarray(v, np.float64) for v in values)
    attributes = call.attrs
    gamma = gamma if attributes.scale else np.ones_like(gamma)
    beta = beta if attributes.center else np.zeros_like(beta)
    scale = gamma / np.sqrt(var + attributes.epsilon)
    shape = [1] * rank_of(call.args[0])
    shape[int(attributes.axis)] = -1
    factor, offset = (
        constant(v.astype(np.float32).reshape(shape)) for v in (scale, beta - mean * scale)
    )
    y = scope.emit(relax.op.add(relax.op.multiply(call.args[0], factor), offset))
    return relax.Tuple([y, call.args[3], call.args[4]])
