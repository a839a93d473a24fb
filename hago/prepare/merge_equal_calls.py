"""Compute the same thing once.

y = f(x, a);  z = f(x, a) => y = f(x, a), used twice
"""

from __future__ import annotations

from collections.abc import Hashable
from hashlib import sha256

import tvm
from tvm import relax

from hago.prepare.expression import constant_of, op_name
from hago.prepare.rewrite import Scope, rewrite


def merge_equal_calls(module: tvm.IRModule) -> tvm.IRModule:
    """A module without two calls of one operator on the same operands with equal attributes."""
    seen: dict[Hashable, relax.Expr] = {}

    def merge(call: relax.Call, scope: Scope) -> relax.Expr | None:
        key = _key(call)
        if key in seen:
            return seen[key]
        seen[key] = scope.emit(call)
        return seen[key]

    return rewrite(module, merge)


def _key(call: relax.Call) -> Hashable:
    return op_name(call), str(call.attrs), tuple(_operand_key(x) for x in call.args)


def _operand_key(operand: relax.Expr) -> Hashable:
    """Variables by identity, constants and attribute values by what they hold."""
    if isinstance(operand, relax.Var):
        variable: Hashable = operand
        return variable
    if isinstance(operand, relax.Tuple):
        return tuple(_operand_key(x) for x in operand.fields)
    value = constant_of(operand)
    if value is not None:
        return value.dtype.str, value.shape, sha256(value.tobytes()).digest()
    return str(operand)
