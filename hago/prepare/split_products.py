"""Compute the parts of a joint projection by themselves, as each has a range of its own.

(x @ w + b)[..., i:j] => x @ w[:, i:j] + b[i:j]      if nothing reads the whole

Queries, keys and values that are projected together then take three quantization scales, and no
copy is needed to separate them.
"""

from __future__ import annotations

import tvm
from tvm import relax

from hago.prepare.expression import (
    Array,
    constant,
    constant_of,
    is_call,
    rank_of,
    shape_of,
    slice_of,
    with_changes,
)
from hago.prepare.rewrite import Scope, rewrite


def split_products(module: tvm.IRModule) -> tvm.IRModule:
    """A module in which no matmul by a constant is only computed to be sliced by columns."""
    return rewrite(module, _split)


def _split(call: relax.Call, scope: Scope) -> relax.Expr | None:
    whole = call.args[0] if is_call(call, "strided_slice") else None
    columns = None if whole is None else _columns(call)
    if whole is None or columns is None or not _is_covered_once(whole, scope):
        return None
    biased = scope.call(whole, "add")
    bias = None if biased is None else constant_of(biased.args[1])
    source = whole if biased is None else biased.args[0]
    product = scope.call(source, "matmul")
    weight = None if product is None else constant_of(product.args[1])
    if product is None or weight is None or weight.ndim != 2:
        return None
    part = with_changes(product, [product.args[0], constant(weight[:, columns])], {})
    if biased is None:
        return part
    if bias is None or not scope.is_used_once(source) or shape_of(source) != shape_of(whole):
        return None
    return relax.op.add(part, constant(_of_columns(bias, columns)))


def _columns(call: relax.Expr) -> slice | None:
    run = slice_of(call) if is_call(call, "strided_slice") else None
    is_last = run is not None and run.axis == rank_of(call.args[0]) - 1
    return slice(run.begin, run.end) if run is not None and is_last else None


def _is_covered_once(whole: relax.Expr, scope: Scope) -> bool:
    """Whether all that reads `whole` are runs of columns, no more together than there are."""
    runs = [_columns(reader) for reader in scope.readers_of(whole)]
    widths = [run.stop - run.start for run in runs if run is not None]
    return len(widths) == len(runs) and sum(widths) <= shape_of(whole)[-1]


def _of_columns(bias: Array, columns: slice) -> Array:
    return bias if bias.ndim == 0 or bias.shape[-1] == 1 else bias[..., columns]
