"""Recognise the Gaussian error linear unit, in whatever order its factors are written.

    0.5 * x * (1 + erf(x / sqrt(2))) => nn.gelu(x)
    0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) => nn.gelu_tanh(x)

Runs after `simplify_arithmetic`: constants come last and divisions are multiplications.
"""

from __future__ import annotations

import math

import tvm
from tvm import relax

from hago.prepare.expression import is_call, op_name, scalar_of
from hago.prepare.rewrite import Scope, rewrite

# The constants are written to between six and sixteen digits by different exporters.
_TOLERANCE = 1e-4


def fuse_gelu(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which every such product is one ``nn.gelu`` or ``nn.gelu_tanh``."""
    return rewrite(module, _fuse)


def _fuse(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, "multiply"):
        return None
    scale, factors = _factors(call, scope)
    if len(factors) != 2 or not _near(scale, 0.5):
        return None
    for x, gate in (factors, factors[::-1]):
        curve = _curve_plus_one(gate, scope)
        if curve is None:
            continue
        if op_name(curve) == "erf" and _is_scaled(curve.args[0], x, math.sqrt(0.5), scope):
            return relax.op.nn.gelu(x)
        if op_name(curve) == "tanh" and _is_tanh_argument(curve.args[0], x, scope):
            return relax.op.nn.gelu_tanh(x)
    return None


def _factors(expr: relax.Expr, scope: Scope) -> tuple[float, list[relax.Expr]]:
    """A product as its scalar part and the other factors."""
    scalar = scalar_of(expr)
    if scalar is not None:
        return scalar, []
    product = scope.call(expr, "multiply")
    if product is None:
        return 1.0, [expr]
    left, right = (_factors(x, scope) for x in product.args)
    return left[0] * right[0], left[1] + right[1]


def _curve_plus_one(gate: relax.Expr, scope: Scope) -> relax.Call | None:
    total = scope.call(gate, "add")
    if total is None or scalar_of(total.args[1]) != 1.0:
        return None
    return scope.call(total.args[0], "erf", "tanh")


def _is_scaled(expr: relax.Expr, x: relax.Expr, scale: float, scope: Scope) -> bool:
    factor, factors = _factors(expr, scope)
    return len(factors) == 1 and factors[0].same_as(x) and _near(factor, scale)


def _is_tanh_argument(expr: relax.Expr, x: relax.Expr, scope: Scope) -> bool:
    """``sqrt(2 / pi) * (x + 0.044715 * x**3)``."""
    factor, factors = _factors(expr, scope)
    total = scope.call(factors[0], "add") if len(factors) == 1 else None
    if total is None or not _near(factor, math.sqrt(2 / math.pi)):
        return False
    cubes = [part for part in total.args if not part.same_as(x)]
    return len(cubes) == 1 and _is_cube(cubes[0], x, scope)


def _is_cube(expr: relax.Expr, x: relax.Expr, scope: Scope) -> bool:
    factor, factors = _factors(expr, scope)
    if len(factors) == 1:
        power = scope.call(factors[0], "power")
        is_third = power is not None and scalar_of(power.args[1]) == 3.0
        factors = [power.args[0]] * 3 if is_third and power is not None else factors
    return _near(factor, 0.044715) and len(factors) == 3 and all(f.same_as(x) for f in factors)


def _near(value: float, expected: float) -> bool:
    return math.isclose(value, expected, rel_tol=_TOLERANCE)
