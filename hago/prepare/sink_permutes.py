"""Push permutations of axes towards the outputs, through everything that can do without them.

    f(permute_dims(x, p)) => permute_dims(f'(x), p)      f' is f with its axes renamed

for elementwise operators, quantize and dequantize, concat, reductions, slices, pads, softmax, group
norms, and reshapes that only join, cut or drop axes which stay together. A permutation that meets
its inverse disappears.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from tvm import relax

from hago.prepare.axis_groups import axis_groups
from hago.prepare.expression import (
    constant,
    constant_of,
    integers,
    op_name,
    positive_axes,
    rank_of,
    shape_of,
    tuple_of_integers,
    with_changes,
)
from hago.prepare.permute import Permuted, on_axis, permute, permuted_of, quantized_axis
from hago.prepare.rewrite import Rule, Scope

_FROM_NHWC = (0, 3, 1, 2)
_TO_NHWC = (0, 2, 3, 1)
UNARY = (
    *("abs", "astype", "ceil", "clip", "cos", "erf", "exp", "floor", "log", "negative"),
    *("nn.gelu", "nn.gelu_tanh", "nn.leakyrelu", "nn.relu", "nn.selu", "nn.silu", "nn.softplus"),
    *("round", "rsqrt", "sigmoid", "sign", "sin", "sqrt", "tanh"),
)
_MANY = (
    *("add", "divide", "equal", "greater", "greater_equal", "less", "less_equal"),
    *("maximum", "minimum", "multiply", "power", "subtract", "where"),
)
_REDUCTIONS = ("max", "mean", "min", "prod", "sum", "variance")


def sink_permute(call: relax.Call, scope: Scope) -> relax.Expr | None:
    """`call` with the permutation of its operands moved behind it, None where that cannot be."""
    rule = _RULES.get(op_name(call))
    return None if rule is None else rule(call, scope)


def _sinkable(expr: relax.Expr, scope: Scope) -> Permuted | None:
    """How `expr` permutes another value, None also where it leads into channels-last."""
    data = permuted_of(expr, scope)
    return None if data is None or data.axes == _TO_NHWC else data


def _unary(call: relax.Call, scope: Scope) -> relax.Expr | None:
    data = _sinkable(call.args[0], scope)
    if data is None:
        return None
    return data.restore(with_changes(call, [data.source, *call.args[1:]], {}))


def _codec(call: relax.Call, scope: Scope) -> relax.Expr | None:
    data = _sinkable(call.args[0], scope)
    if data is None:
        return None
    return data.restore(on_axis(call, data.source, data.axes[quantized_axis(call)]))


def _many(call: relax.Call, scope: Scope) -> relax.Expr | None:
    order = _common_order(list(call.args), rank_of(call), scope)
    if order is None:
        return None
    sources = [_in_order_of(order, x, scope) for x in call.args]
    if any(s is None for s in sources):
        return None
    return order.restore(with_changes(call, sources, {}))


def _concat(call: relax.Call, scope: Scope) -> relax.Expr | None:
    fields = list(call.args[0].fields)
    order = _common_order(fields, rank_of(call), scope)
    if order is None:
        return None
    sources = [_in_order_of(order, x, scope) for x in fields]
    if any(s is None for s in sources):
        return None
    axis = order.axes[positive_axes([call.attrs.axis], len(order.axes))[0]]
    return order.restore(relax.op.concat(sources, axis))


def _common_order(operands: Sequence[relax.Expr], rank: int, scope: Scope) -> Permuted | None:
    """The permutation of the first operand that has one of the result's rank."""
    orders = (_sinkable(x, scope) for x in operands)
    return next((o for o in orders if o is not None and len(o.axes) == rank), None)


def _in_order_of(order: Permuted, x: relax.Expr, scope: Scope) -> relax.Expr | None:
    """`x` as an operand beside the order's source, None where that would cost a data movement."""
    rank = len(order.axes)
    if rank_of(x) == 0:
        return x
    value = constant_of(x)
    if value is not None:
        full = value.reshape((1,) * (rank - value.ndim) + value.shape)
        return constant(full.transpose(order.inverse))
    if rank_of(x) != rank:
        return None
    other = permuted_of(x, scope)
    # A tensor from elsewhere is permuted too where the result goes on to channels-last operators.
    is_same = other is not None and other.axes == order.axes
    if not is_same and order.axes != _FROM_NHWC and math.prod(shape_of(x)) > 1:
        return None
    return permute(x, order.inverse, scope)


def _reduction(call: relax.Call, scope: Scope) -> relax.Expr | None:
    data = _sinkable(call.args[0], scope)
    if data is None or call.attrs.axis is None:
        return None
    axes = [data.axes[a] for a in positive_axes(call.attrs.axis, len(data.axes))]
    reduced = with_changes(call, [data.source], {"axis": axes})
    if call.attrs.keepdims:
        return data.restore(reduced)
    left = [a for a in data.axes if a not in axes]
    return permute(scope.emit(reduced), [sorted(left).index(a) for a in left], scope)


def _along_axis(call: relax.Call, scope: Scope) -> relax.Expr | None:
    data = _sinkable(call.args[0], scope)
    if data is None:
        return None
    axis = data.axes[positive_axes([call.attrs.axis], len(data.axes))[0]]
    return data.restore(with_changes(call, [data.source, *call.args[1:]], {"axis": axis}))


def _group_norm(call: relax.Call, scope: Scope) -> relax.Expr | None:
    data = _sinkable(call.args[0], scope)
    if data is None:
        return None
    rank = len(data.axes)
    (channel,) = positive_axes([call.attrs.channel_axis], rank)
    axes = sorted(data.axes[a] for a in positive_axes(call.attrs.axes, rank))
    changes = {"channel_axis": data.axes[channel], "axes": axes}
    return data.restore(with_changes(call, [data.source, *call.args[1:]], changes))


def _slice(call: relax.Call, scope: Scope) -> relax.Expr | None:
    data = _sinkable(call.args[0], scope)
    if data is None:
        return None
    axes = positive_axes(tuple_of_integers(call.args[1]), len(data.axes))
    moved = relax.op.strided_slice(
        data.source, [data.axes[a] for a in axes], *(tuple_of_integers(x) for x in call.args[2:])
    )
    return data.restore(moved)


def _pad(call: relax.Call, scope: Scope) -> relax.Expr | None:
    data = _sinkable(call.args[0], scope)
    if data is None:
        return None
    widths = np.array(integers(call.attrs.pad_width)).reshape(-1, 2)[list(data.inverse)]
    return data.restore(with_changes(call, [data.source], {"pad_width": widths.ravel().tolist()}))


def _permute(call: relax.Call, scope: Scope) -> relax.Expr | None:
    data = permuted_of(call.args[0], scope)
    if data is None:
        return None
    axes = call.attrs.axes
    outer = positive_axes(axes, len(data.axes)) if axes else range(len(data.axes))[::-1]
    return permute(data.source, [data.axes[a] for a in outer], scope)


def _reshape(call: relax.Call, scope: Scope) -> relax.Expr | None:
    """Sink where every group of joined or cut axes is one run of the source's axes."""
    data = _sinkable(call.args[0], scope)
    if data is None:
        return None
    groups = axis_groups(shape_of(call.args[0]), shape_of(call))
    placed: list[tuple[int, list[int]]] = []
    for inputs, outputs in groups:
        places = [data.axes[i] for i in inputs]
        if any(b - a != 1 for a, b in pairwise(places)):
            return None
        # An axis that is inserted goes with its neighbour.
        start = places[0] if places else (placed[-1][0] if placed else -1)
        placed.append((start, outputs))
    order = [axis for _, outputs in sorted(placed, key=lambda p: p[0]) for axis in outputs]
    shape = shape_of(call)
    source = scope.emit(relax.op.reshape(data.source, [shape[axis] for axis in order]))
    return permute(source, [order.index(axis) for axis in range(len(shape))], scope)


_RULES: dict[str, Rule] = {
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(_MANY, _many),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(("nn.softmax", "nn.log_softmax", "nn.prelu", "flip"), _along_axis),
    "concat": _concat,
    "dequantize": _codec,
    "nn.group_norm": _group_norm,
    "nn.pad": _pad,
    "permute_dims": _permute,
    "quantize": _codec,
    "reshape": _reshape,
    "strided_slice": _slice,
}
