"""Recognise the sigmoid-weighted linear unit.

x * sigmoid(x) => nn.silu(x)
"""

from __future__ import annotations

import tvm
from tvm import relax

from hago.prepare.expression import is_call
from hago.prepare.rewrite import Scope, rewrite


def fuse_silu(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which every such product is one ``nn.silu``."""
    return rewrite(module, _fuse)


def _fuse(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, "multiply"):
        return None
    left, right = call.args
    for x, gate in ((left, right), (right, left)):
        sigmoid = scope.call(gate, "sigmoid")
        if sigmoid is not None and sigmoid.args[0].same_as(x):
            return relax.op.nn.silu(x)
    return None
