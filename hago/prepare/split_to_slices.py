"""Take the pieces of a split one by one, so that no value inside is a tuple.

split(x, [a, b])[1] => strided_slice(x, a:b)
"""

from __future__ import annotations

from itertools import pairwise

import tvm
from tvm import relax

from hago.prepare.expression import integers, is_call, rank_of, shape_of
from hago.prepare.rewrite import Scope, rewrite


def split_to_slices(module: tvm.IRModule) -> tvm.IRModule:
    """A module without ``split``."""
    return rewrite(module, _slice)


def _slice(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, "split"):
        return None
    data = call.args[0]
    axis = int(call.attrs.axis) % rank_of(data)
    bounds = _bounds(call.attrs.indices_or_sections, shape_of(data)[axis])
    pieces = [
        scope.emit(relax.op.strided_slice(data, [axis], [low], [high]))
        for low, high in pairwise(bounds)
    ]
    return relax.Tuple(pieces)


def _bounds(sections: object, size: int) -> list[int]:
    """All the cut positions, both ends included."""
    if hasattr(sections, "__len__"):
        return [0, *integers(sections), size]  # type: ignore[arg-type]
    step = -(-size // int(sections))  # type: ignore[call-overload]
    return [*range(0, size, step), size]
