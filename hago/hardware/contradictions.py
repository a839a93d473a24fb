"""What a row of a specification may not say, because another part of it, or a manual, says else."""

from __future__ import annotations

from collections.abc import Sequence

from hago.hardware.checks import error
from hago.hardware.intrinsics import EXTENSIONS, NO_PRODUCTS, PRODUCTS, Products
from hago.hardware.spec import PASSING, Memory, OpSupport, word_of
from hago.scheme import DType

_MULTIPLY = ("conv2d", "depthwise_conv2d", "matmul", "batch_matmul")
_WEIGHTED = ("conv2d", "depthwise_conv2d", "matmul")  # whose second operand is constant


def check_contradictions(row: OpSupport) -> None:
    """Raises SpecError where ``row`` contradicts itself, or the instruction that it names."""
    for number, operand in enumerate(row.inputs):
        is_weight = number == 1 and row.op in _WEIGHTED
        if not is_weight and operand.granularity != ("tensor",):
            raise error(f"row '{row.op}'", f"operand {number} has a scale for each channel",
                        "Only constant weights have: drop '.per_channel'.", row.origin)  # fmt: skip
        if not is_weight and operand.storage is not None:
            raise error(f"row '{row.op}'", f"operand {number} is stored as {operand.storage}",
                        "Only constant weights are: drop '.stored_as'.", row.origin)  # fmt: skip
    if row.op in PASSING and row.inputs[0].dtype not in row.output:
        raise error(f"row '{row.op}'",
                    f"it moves {row.inputs[0].dtype} and gives {', '.join(map(str, row.output))}",
                    f"Say gives=(..) with {row.inputs[0].dtype}.", row.origin)  # fmt: skip
    if row.op in _MULTIPLY and row.intrinsic in NO_PRODUCTS:
        raise error(f"row '{row.op}' by {row.intrinsic}", "it adds up no products",
                    "Name another instruction.", row.origin)  # fmt: skip
    if row.op in _MULTIPLY and row.intrinsic in PRODUCTS:
        _check_products(row, PRODUCTS[row.intrinsic])


def _check_products(row: OpSupport, products: Products) -> None:
    """The row against the manual."""
    given, taken = [operand.dtype for operand in row.inputs], products.operands
    if not all(_widens(own, wanted) for own, wanted in zip(given, taken, strict=True)):
        raise error(f"row '{row.op}' by {row.intrinsic}",
                    f"it multiplies {_pair(taken)}, not {_pair(given)}",
                    "Name its own element types, or another instruction.", row.origin)  # fmt: skip
    if row.accum.dtype != products.sums:
        raise error(f"row '{row.op}' by {row.intrinsic}",
                    f"it sums in {products.sums}, not in {row.accum.dtype}",
                    "Say what it sums in.", row.origin)  # fmt: skip
    if row.accum.terms != products.meet:
        sums = f"saturating({word_of(products.sums)}, terms={products.meet})"
        raise error(f"row '{row.op}' by {row.intrinsic}",
                    f"{products.meet} products meet in a sum that saturates" if products.meet
                    else "its sums do not saturate",
                    f"Write sums_in={sums if products.meet else word_of(products.sums)}.",
                    row.origin)  # fmt: skip
    if row.alignment.k % products.k and row.alignment.k != 1:
        raise error(f"row '{row.op}' by {row.intrinsic}",
                    f"it takes {products.k} elements at once, k={row.alignment.k} is no multiple",
                    f"Write align={{\"k\": {products.k}}}.", row.origin)  # fmt: skip


def _widens(own: DType, wanted: DType) -> bool:
    """Whether every value of ``own`` is one of ``wanted``."""
    if own == wanted:
        return True
    if not own.is_integer or not wanted.is_integer:
        return not own.is_integer and not wanted.is_integer and own.bits < wanted.bits
    low, high = own.code_range
    least, most = wanted.code_range
    return least <= low and high <= most


def _pair(dtypes: Sequence[DType]) -> str:
    return " by ".join(map(str, dtypes))


def check_memory(memory: Memory) -> None:
    """Raises SpecError for no L1, and for a cache smaller than the one in front of it."""
    if not memory.l1:
        raise error("memory", "the L1 has 0 bytes", "Write its size, or that of local memory.")
    sizes = (memory.l1, memory.l2, *([memory.l3] if memory.l3 else []))
    if list(sizes) != sorted(sizes):
        raise error("memory", f"the caches have {', '.join(map(str, sizes))} bytes",
                    "Each is at least as large as the one in front of it.")  # fmt: skip


def check_needs(rows: Sequence[OpSupport], needs: Sequence[str], arch: object) -> None:
    """Raises SpecError for a row whose instruction a computer with all that the machine ``needs``
    may lack, and for a GPU's target ``arch`` that it does not need. What needs nothing is no
    computer."""
    if not needs:
        return
    if isinstance(arch, str) and arch.startswith("sm_") and arch not in needs:
        raise error(f"target {arch}", f"the machine needs {', '.join(needs)}",
                    f"Write needs=(\"{arch}\",): code for it runs on no older GPU.")  # fmt: skip
    for row in rows:
        extension = EXTENSIONS.get(row.intrinsic)
        if extension is not None and not set(extension.words) & set(needs):
            raise error(f"row '{row.op}' by {row.intrinsic}",
                        f"it comes with {extension.words[0]}, which is not among what the "
                        f"machine needs: {', '.join(needs)}",
                        f"Add \"{extension.words[0]}\" to needs=(..).", row.origin)  # fmt: skip
