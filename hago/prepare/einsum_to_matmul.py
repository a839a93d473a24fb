"""Write Einstein's sums as products, so that they are computed by dot products like others.

einsum("bhid,bhjd->bhij", q, k) => matmul(q, permute_dims(k))

A label that both operands have is summed if nothing else has it, and a batch otherwise; those of
one operand are rows of the left one, columns of the right one. Operands are taken from left to
right. Diagonals ("ii") and labels whose sizes broadcast stay as they are.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import tvm
from tvm import relax

from hago.prepare.expression import is_call, shape_of
from hago.prepare.rewrite import Scope, rewrite

_ELLIPSIS = "..."


def einsum_to_matmul(module: tvm.IRModule) -> tvm.IRModule:
    """A module without ``einsum``, but for what no product computes."""
    return rewrite(module, _as_products)


@dataclass(frozen=True, eq=False)
class _Term:
    """A tensor with a label for each axis."""

    value: relax.Expr
    labels: str

    def size(self, label: str) -> int:
        return shape_of(self.value)[self.labels.index(label)]


def _as_products(call: relax.Call, scope: Scope) -> relax.Expr | None:
    if not is_call(call, "einsum"):
        return None
    operands = scope.definition(call.args[0])
    assert isinstance(operands, relax.Tuple), "einsum takes a tuple"
    parsed = _parsed(str(call.attrs.subscripts), [len(shape_of(x)) for x in operands.fields])
    if parsed is None:
        return None
    inputs, output = parsed
    terms = [_Term(x, labels) for x, labels in zip(operands.fields, inputs, strict=True)]
    if not _are_plain(terms):
        return None
    total, *others = terms
    for place, other in enumerate(others, start=1):
        wanted = {*output, *"".join(inputs[place + 1 :])}
        total = _product(scope, total, other, wanted)
    return _arranged(scope, _summed(scope, total, set(output)), output).value


def _parsed(subscripts: str, ranks: Sequence[int]) -> tuple[list[str], str] | None:
    """The labels of the operands and of the result, an ellipsis spelled out; None where they do
    not fit."""
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ranks):
        return None
    if not arrow:
        own = sorted(label for label in set(left) - set(",.") if left.count(label) == 1)
        output = (_ELLIPSIS if _ELLIPSIS in left else "") + "".join(own)
    # The axes that an ellipsis stands for are counted from the last.
    free = [label for label in string.ascii_letters if label not in subscripts]
    spelled, longest = [], ""
    for labels, rank in zip(inputs, ranks, strict=True):
        more = rank - len(labels.replace(_ELLIPSIS, ""))
        if more < 0 or more > len(free) or (more and _ELLIPSIS not in labels):
            return None
        axes = "".join(free[:more][::-1])
        longest = max(longest, axes, key=len)
        spelled.append(labels.replace(_ELLIPSIS, axes))
    output = output.replace(_ELLIPSIS, longest)
    is_known = set(output) <= set("".join(spelled)) and len(set(output)) == len(output)
    return (spelled, output) if is_known else None


def _are_plain(terms: Iterable[_Term]) -> bool:
    """Whether no operand has a label twice, and each label has one size."""
    sizes: dict[str, int] = {}
    for term in terms:
        if len(set(term.labels)) < len(term.labels):
            return False
        if any(sizes.setdefault(label, term.size(label)) != term.size(label)
               for label in term.labels):  # fmt: skip
            return False
    return True


def _product(scope: Scope, left: _Term, right: _Term, wanted: set[str]) -> _Term:
    """The sum over the labels that are not ``wanted``."""
    left = _summed(scope, left, wanted | set(right.labels))
    right = _summed(scope, right, wanted | set(left.labels))
    both = [label for label in left.labels if label in right.labels]
    batch = "".join(label for label in both if label in wanted)
    summed = "".join(label for label in both if label not in wanted)
    rows = "".join(label for label in left.labels if label not in both)
    columns = "".join(label for label in right.labels if label not in both)
    labels = batch + rows + columns
    sizes = [(left if label in left.labels else right).size(label) for label in labels]
    a = _arranged(scope, left, batch + rows + summed).value
    b = _arranged(scope, right, batch + summed + columns).value
    outer = sizes[: len(batch)]
    if not summed:
        a = _reshaped(scope, a, [*sizes[: len(batch + rows)], *[1] * len(columns)])
        b = _reshaped(scope, b, [*outer, *[1] * len(rows), *sizes[len(batch + rows) :]])
        return _Term(scope.emit(relax.op.multiply(a, b)), labels)
    length = prod(left.size(label) for label in summed)
    # Without a batch the left side keeps its axes: the right side is one matrix for all of them.
    of_rows = sizes[len(batch) : len(batch + rows)]
    a = _reshaped(scope, a, [*outer, *([prod(of_rows)] if batch or not rows else of_rows), length])
    b = _reshaped(scope, b, [*outer, length, prod(sizes[len(batch + rows) :])])
    total = scope.emit(relax.op.matmul(a, b))
    return _Term(_reshaped(scope, total, sizes), labels)


def _summed(scope: Scope, term: _Term, wanted: set[str]) -> _Term:
    """``term`` summed over what is not ``wanted``."""
    axes = [axis for axis, label in enumerate(term.labels) if label not in wanted]
    if not axes:
        return term
    kept = "".join(label for label in term.labels if label in wanted)
    return _Term(scope.emit(relax.op.sum(term.value, axis=axes)), kept)


def _arranged(scope: Scope, term: _Term, labels: str) -> _Term:
    """``term`` with its axes in the order of ``labels``."""
    order = [term.labels.index(label) for label in labels]
    if order == list(range(len(order))):
        return term
    return _Term(scope.emit(relax.op.permute_dims(term.value, order)), labels)


def _reshaped(scope: Scope, value: relax.Expr, shape: Sequence[int]) -> relax.Expr:
    if list(shape_of(value)) == list(shape):
        return value
    return scope.emit(relax.op.reshape(value, list(shape)))
