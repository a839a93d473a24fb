"""Move elementwise operators before a reshape, next to what computes their operand.

    f(reshape(x)) => reshape(f(x))
reshape(x) + c => reshape(x + c')      c' is the constant in the shape of x
reshape(x)[a:b] => reshape(x[a':b'])   where the axis is the first of those that one was cut into

So a bias, an activation or a scale lands in the kernel that computes x.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from hago.prepare.axis_groups import axis_groups
from hago.prepare.expression import (
    Array,
    constant,
    constant_of,
    is_call,
    op_name,
    shape_of,
    slice_of,
    with_changes,
)
from hago.prepare.rewrite import Scope, rewrite
from hago.prepare.sink_permutes import UNARY, sink_permute

_WITH_CONSTANT = ("add", "multiply", "maximum", "minimum", "subtract", "divide", "power")


def sink_reshapes(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which reshapes and permutations come after elementwise operators."""
    return rewrite(module, _sink)


def _sink(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if is_call(call, "strided_slice"):
        return _slice_before(call, scope)
    if not _is_elementwise(call):
        return None
    moved = sink_permute(call, scope)
    moved = _sink_reshape(call, scope) if moved is None else moved
    return None if moved is None else _sink_further(moved, scope)


def _sink_further(moved: relax.Call, scope: Scope) -> relax.Expr:
    """The data movement `moved` again behind what it now moves, as long as that helps."""
    inner = scope.emit(moved.args[0])
    deeper = _sink(scope.definition(inner), scope)
    return with_changes(moved, [inner if deeper is None else deeper, *moved.args[1:]], {})


def _sink_reshape(call: relax.Call, scope: Scope) -> relax.Expr | None:
    reshape = scope.call(call.args[0], "reshape")
    if reshape is None or shape_of(call) != shape_of(reshape):
        return None
    source = reshape.args[0]
    rest = [_behind(x, source, reshape) for x in call.args[1:]]
    return relax.op.reshape(with_changes(call, [source, *rest], {}), shape_of(call))


def _slice_before(call: relax.Call, scope: Scope) -> relax.Expr | None:
    reshape = scope.call(call.args[0], "reshape")
    run = slice_of(call)
    if reshape is None or run is None:
        return None
    before, after = shape_of(reshape.args[0]), shape_of(reshape)
    for inputs, outputs in axis_groups(before, after):
        if len(inputs) == 1 and len(outputs) > 1 and outputs[0] == run.axis:
            block = before[inputs[0]] // after[run.axis]
            bounds = [run.begin * block], [run.end * block]
            part = relax.op.strided_slice(reshape.args[0], inputs, *bounds)
            return relax.op.reshape(part, shape_of(call))
    return None


def _is_elementwise(call: relax.Call) -> bool:
    if is_call(call, *_WITH_CONSTANT):
        return constant_of(call.args[1]) is not None
    return op_name(call) in UNARY


def _behind(operand: relax.Expr, source: relax.Expr, reshape: relax.Call) -> relax.Expr | None:
    """A constant operand as it is before the reshape; scalars and attributes stay."""
    value = constant_of(operand)
    if value is None or value.ndim == 0:
        return operand
    return _reshaped(value, shape_of(source), shape_of(reshape))


def _reshaped(value: Array, before: tuple[int, ...], after: tuple[int, ...]) -> relax.Expr:
    value = value.reshape((1,) * (len(after) - value.ndim) + value.shape)
    full, target = list(value.shape), [1] * len(before)
    for inputs, outputs in axis_groups(before, after):
        if all(value.shape[o] == 1 for o in outputs):
            continue
        for i in inputs:
            target[i] = before[i]
        for o in outputs:
            full[o] = after[o]
    return constant(np.broadcast_to(value, full).reshape(target))
