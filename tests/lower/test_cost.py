"""What a kernel has to do, read back from its PrimFunc."""

from __future__ import annotations

import pytest

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.kernels.matmul import build_matmul
from hago.codegen.workload import Conv2d, GroupNorm, Machine, Matmul, RowReduce, Workload
from hago.lower.cost import describe, operations, read_cost, with_cost
from hago.lower.instructions import instructions_of, reduction_instructions
from hago.lower.select import build_kernel
from tests.codegen.test_attention import of_floats

MACHINE = Machine(64, frozenset({"vfmadd"}))
ATTENTION, LAST = of_floats(2, 3, 7, 4, 5, 9, (None, None, None), (4,))


def test_a_kernel_says_what_it_computes_and_how_many_bytes_it_touches() -> None:
    work = Matmul(4, 32, 8)
    epilogue = Epilogue("float32", "float32", steps=(Step("relu", (0,)),))
    function = build_matmul(work, epilogue, MACHINE).func
    cost = read_cost(with_cost(function, work, epilogue))
    assert (cost.workload, cost.dtype, cost.operations) == ("float32 4x32x8", "float32", 2048)
    assert cost.bytes == 4 * (4 * 8 + 32 * 8 + 4 * 32)
    assert cost.epilogue == 4 * 32


def test_a_function_of_unknown_origin_has_bytes_only() -> None:
    function = build_matmul(Matmul(4, 32, 8), Epilogue("float32", "float32"), MACHINE).func
    assert read_cost(function).operations == 0
    assert read_cost(function).bytes == 1664


@pytest.mark.parametrize(
    ("work", "count", "words"),
    [
        (Conv2d(1, 8, 8, 4, 6, 3, 3, padding=(1, 1, 1, 1)), 2 * 8 * 8 * 6 * 9 * 4,
         "float32 8x8x4 -> 6, 3x3"),
        (Conv2d(1, 8, 8, 4, 4, 3, 3, strides=(2, 2), groups=4), 2 * 3 * 3 * 4 * 9,
         "float32 8x8x4 -> 4, 3x3 /2, 4 groups"),
        (RowReduce("softmax", 3, 5), 15, "float32 3 rows of 5"),
        (GroupNorm((1, 4, 4, 8), 2), 128, "float32 1x4x4x8"),
        (ATTENTION, 2 * 6 * 7 * 4 * (5 + 9), "float32 attention, 6 of 7x4x5"),
    ],
)  # fmt: skip
def test_operations_count_a_multiply_add_as_two(work: Workload, count: int, words: str) -> None:
    assert operations(work) == count
    assert describe(work) == words


def test_what_an_attention_computes_between_its_products_counts_as_instructions() -> None:
    function = build_kernel(ATTENTION, LAST, MACHINE).func
    scores, contexts = 6 * 7 * 4, 6 * 7 * 9
    of_powers = reduction_instructions("shifted_exp") + reduction_instructions("sum")
    each = [instructions_of(epilogue) for _, epilogue in ATTENTION.before]
    expected = scores * (each[0] + each[1] + of_powers) + 6 * 7 * each[2]
    found = read_cost(with_cost(function, ATTENTION, LAST)).epilogue
    assert found == expected + contexts * instructions_of(LAST)


def test_an_epilogue_has_no_fewer_instructions_than_it_must() -> None:
    scale = Operand((16,), "float32")
    steps = (
        Step("float", (0,)), Step("multiply", (3, 1)), Step("add", (4, 2)), Step("relu", (5,)),
        Step("quantize_uint8", (6,), (0.1, 3.0, 0.0, 255.0)),
    )  # fmt: skip
    epilogue = Epilogue("int32", "uint8", (scale, scale), steps)
    # To float; a fused multiply-add; relu; divided, bounded on both sides, rounded, the zero point
    # added (with the division: one of each), narrowed.
    assert instructions_of(epilogue) == 8
    assert instructions_of(Epilogue("float32", "float32")) == 0
