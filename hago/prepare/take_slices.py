"""Elements at constant places one after another are a slice.

    take(x, [3, 4, 5], axis)  =>  strided_slice(x, axis, 3, 6)
    take(x, -1, axis)         =>  strided_slice(x, axis, n - 1, n), less the axis

Indices that count from the end are made to count from the front: code of TVM's that gathers without
checks reads in front of the tensor otherwise.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from hago.prepare.expression import constant, constant_of, is_call, shape_of, with_changes
from hago.prepare.rewrite import Scope, rewrite


def take_slices(module: tvm.IRModule) -> tvm.IRModule:
    """A module that gathers nothing by constant indices which is a slice."""
    return rewrite(module, _take)


def _take(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, "take") or call.attrs.axis is None:
        return None
    (data, places), axis = call.args, int(call.attrs.axis)
    indices, shape = constant_of(places), shape_of(data)
    if indices is None or indices.size == 0:
        return None
    axis, size = axis % len(shape), shape[axis]
    least = 0 if str(call.attrs.mode) == "clip" else -size  # clipping counts from no end
    if np.any(indices >= size) or np.any(indices < least):
        return None
    first, positive = int(indices.flat[0]) % size, indices.astype(np.int64) % size
    if np.array_equal(positive.ravel(), np.arange(first, first + indices.size)):
        run = relax.op.strided_slice(data, [axis], [first], [first + indices.size])
        return relax.op.reshape(scope.emit(run), shape_of(call))
    if np.all(indices >= 0):
        return None
    return with_changes(call, [data, constant(positive)], {})
