"""Products keep the axes that their operands were joined from.

    matmul(reshape(a, [b h, m, k]), c) => reshape(matmul(a, reshape(c, [b, h, k, n])), [b h, m, n])
    reshape(matmul(a, c), [b, h, m, n]) => matmul(reshape(a, ..), reshape(c, ..))
    matmul(reshape(a, [b m, k]), w) => reshape(matmul(a, w), [b m, n])      w is constant
    reshape(matmul(a, w) + d, [b, m, n]) => matmul(reshape(a, [b, m, k]), w) + d

PyTorch's bmm has one batch axis and its mm has none, so torch.export joins axes before each product
and cuts them again behind it. Without that, what lies between products (a mask, a softmax, a
residual) is next to them, in the axes that other exporters keep.
"""

from __future__ import annotations

import tvm
from tvm import relax

from hago.prepare.expression import constant_of, is_call, rank_of, shape_of
from hago.prepare.rewrite import Scope, rewrite


def unfold_batches(module: tvm.IRModule) -> tvm.IRModule:
    """A module whose products have as many batch axes as their operands had."""
    return rewrite(module, _unfold)


def _unfold(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if is_call(call, "reshape"):
        return _cut(call, scope)
    if not is_call(call, "matmul") or constant_of(call.args[0]) is not None:
        return None
    return (_rows if constant_of(call.args[1]) is not None else _batches)(call, scope)


def _rows(call: relax.Call, scope: Scope) -> relax.Expr | None:
    reshape, weight = scope.call(call.args[0], "reshape"), call.args[1]
    if reshape is None or (rank_of(call.args[0]), rank_of(weight)) != (2, 2):
        return None
    rows = shape_of(reshape.args[0])
    is_sequence = len(rows) == 3 and rows[1] > 1
    if not is_sequence or rows[-1] != shape_of(weight)[0]:
        return None
    product = relax.op.matmul(reshape.args[0], weight, out_dtype=call.attrs.out_dtype)
    return relax.op.reshape(scope.emit(product), shape_of(call))


def _cut(call: relax.Call, scope: Scope) -> relax.Expr | None:
    """By the axes that rows or batches are cut into behind a product."""
    product, shape = scope.call(call.args[0], "matmul"), shape_of(call)
    if product is None or any(constant_of(x) is not None for x in product.args):
        return _cut_rows(call, scope)
    whole = shape_of(product)
    if shape[-2:] != whole[-2:] or len(shape) <= len(whole):
        return None
    return _with_batch(product, shape[:-2], scope) if scope.is_used_once(call.args[0]) else None


def _cut_rows(call: relax.Call, scope: Scope) -> relax.Expr | None:
    """The same of a layer, and the bias that is added to it."""
    biased = scope.call(call.args[0], "add")
    bias = None if biased is None else constant_of(biased.args[1])
    source = call.args[0] if biased is None else biased.args[0]
    product, shape = scope.call(source, "matmul"), shape_of(call)
    if product is None or (biased is not None and (bias is None or bias.ndim > 1)):
        return None
    data, weight = product.args
    ranks = [rank_of(x) for x in (*product.args, call.args[0], call)]
    is_alone = scope.is_used_once(call.args[0]) and scope.is_used_once(source)
    if constant_of(weight) is None or ranks != [2, 2, 2, 3] or not is_alone:
        return None
    if shape[-1] != shape_of(source)[-1]:
        return None
    rows = scope.emit(relax.op.reshape(data, [*shape[:-1], shape_of(data)[-1]]))
    cut = relax.op.matmul(rows, weight, out_dtype=product.attrs.out_dtype)
    return cut if biased is None else relax.op.add(scope.emit(cut), biased.args[1])


def _batches(call: relax.Call, scope: Scope) -> relax.Expr | None:
    """By the axes that its left operand was joined from."""
    joined = scope.call(call.args[0], "reshape")
    if joined is None:
        return None
    before, after = shape_of(joined.args[0]), shape_of(joined)
    if before[-2:] != after[-2:] or len(before) <= len(after):
        return None
    product = _with_batch(call, before[:-2], scope)
    return None if product is None else relax.op.reshape(scope.emit(product), shape_of(call))


def _with_batch(call: relax.Call, batch: tuple[int, ...], scope: Scope) -> relax.Expr | None:
    """The product ``call`` of two activations with these axes in place of its batch."""
    left, right = (shape_of(x) for x in call.args)
    if len(left) < 3 or left[:-2] != right[:-2]:
        return None
    operands = [
        scope.emit(relax.op.reshape(x, [*batch, *shape[-2:]]))
        for x, shape in zip(call.args, (left, right), strict=True)
    ]
    return relax.op.matmul(*operands, out_dtype=call.attrs.out_dtype)
