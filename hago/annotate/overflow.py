"""Proof that an accumulator cannot overflow, from shapes and bit widths alone."""

from __future__ import annotations

from hago.dataflow import Node
from hago.hardware.spec import OpSupport
from hago.pairs import LARGEST
from hago.scheme import DType


def reduction_length(node: Node) -> int:
    """How many products are summed into one element of the result."""
    if node.op == "nn.conv2d":
        _, kh, kw, per_group = node.constants[1].shape
        return int(kh * kw * per_group)
    if node.op == "matmul":
        if 1 in node.constants:
            return int(node.constants[1].shape[0])
        return int(node.call.args[0].ty.shape[-1])
    return 1


def largest_magnitude(dtype: DType) -> int:
    """Largest absolute code, and of the code less any zero point of the type."""
    low, high = dtype.code_range
    return max(-low, high)


def overflow(node: Node, row: OpSupport) -> str | None:
    """None if ``row`` cannot overflow on ``node``; otherwise the sentence that says how it does.

    The worst case of the sum of ``k`` products is ``k * max|a| * max|b|``. Rows whose products
    meet in a narrow register first (``accum.terms``) are checked for that many products there,
    then for all of them in int32. Of paired weights, two are as large as the bound has it.
    """
    if row.accum.dtype.kind != "int" or not all(o.dtype.is_integer for o in row.inputs):
        return None
    if len(row.inputs) < 2:
        return None
    product = 1
    for operand in row.inputs[:2]:
        product *= largest_magnitude(operand.dtype)
    terms = row.accum.terms or reduction_length(node)
    worst, limit = product * terms, row.accum.dtype.code_range[1]
    if terms == 2 and row.inputs[1].dtype.paired:
        worst = largest_magnitude(row.inputs[0].dtype) * LARGEST
    if worst > limit:
        return f"{terms} products reach {worst}, above {limit} of the {row.accum.dtype} accumulator"
    total = product * reduction_length(node)
    if row.accum.terms and total > 2**31 - 1:
        return f"{reduction_length(node)} products reach {total}, above 2147483647"
    return None
