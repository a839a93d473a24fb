"""An attention in one kernel gives what its four kernels give, to the bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.kernels.attention import attends, build_attention
from hago.codegen.kernels.batch_matmul import build_batch_matmul
from hago.codegen.kernels.reduce import build_row_reduce
from hago.codegen.workload import Attention, BatchMatmul, RowReduce
from tests.codegen.isa import MACHINES, machine, random_tensor, run
from tests.codegen.test_strided_products import as_keys, by_rows
from tests.codegen.workloads import FEW

# In blocks of 128 and 48 rows, of more than there are (the last begins before the other ends), and
# in one.
ROWS = st.sampled_from([256, 192, 197, 101, 67, 5])


def of_floats(images, heads, m, n, k, d, strided, mask):
    """A scale and a mask behind scores."""
    batch, (left, right, output) = images * heads, strided
    scores = BatchMatmul(batch, m, n, k, left=left, right=right)
    scaled = (Step("multiply_const", (0,), (k**-0.5,)), Step("add", (2, 1)))
    epilogues = (
        Epilogue("float32", "float32", (Operand(mask, "float32"),), scaled),
        Epilogue("float32", "float32"),
        Epilogue("float32", "float32", (), (Step("divide_const", (0,), (1.0,)),)),
    )
    contexts = BatchMatmul(batch, m, d, n, output=output)
    work = Attention(
        scores, RowReduce("shifted_exp", batch * m, n), RowReduce("sum", batch * m, n),
        contexts, epilogues, 0,
    )  # fmt: skip
    total = Operand((batch, m, 1), "float32")
    return work, Epilogue("float32", "float32", (total,), (Step("multiply", (0, 1)),))


def of_codes(images, heads, m, n, k, d, strided, mask):
    """Codes everywhere but in scores, less what the zero point of the queries adds to each key."""
    batch, (left, right, output) = images * heads, strided
    scores = BatchMatmul(batch, m, n, k, "uint8", "int8", left=left, right=right)
    keys = Operand((batch, 1, n), "int32")
    scaled = (
        Step("subtract_int32", (0, 1)), Step("float", (3,)),
        Step("multiply_const", (4,), (2e-4,)), Step("add", (5, 2)),
    )  # fmt: skip
    to_codes = (Step("quantize_uint8", (0,), (1 / 255, 0.0, 0.0, 255.0)),)
    inverse = (Step("float", (0,)), Step("divide", (1, 2)))  # of a number that is given
    epilogues = (
        Epilogue("int32", "float32", (keys, Operand(mask, "float32")), scaled),
        Epilogue("float32", "uint8", (), to_codes),
        Epilogue("int32", "float32", (Operand((), "float32"),), inverse),
    )
    contexts = BatchMatmul(batch, m, d, n, "uint8", "int8", output=output)
    work = Attention(
        scores, RowReduce("shifted_exp", batch * m, n),
        RowReduce("sum", batch * m, n, data="uint8"), contexts, epilogues, 1,
    )  # fmt: skip
    offset, total = Operand((d,), "float32"), Operand((batch, m, 1), "float32")
    return work, Epilogue(
        "int32", "uint8", (offset, total),
        (Step("float", (0,)), Step("multiply", (3, 2)), Step("add", (4, 1)),
         Step("quantize_uint8", (5,), (0.5, 128.0, 0.0, 255.0))),
    )  # fmt: skip


def one_after_another(work, epilogue, isa, data, operands):
    """The results of the four kernels; ``operands`` are those of each."""
    scores = run(
        build_batch_matmul(work.scores, work.epilogues[0], machine(isa)), isa,
        (*data[:2], *operands[0]), np.zeros(work.scores.output_shape, "float32"),
    )  # fmt: skip
    rows = [(work.powers, work.epilogues[1]), (work.totals, work.epilogues[2])]
    read, found = scores.reshape(work.powers.rows, -1), []
    for (reduce, own), given_to in zip(rows, operands[1:3], strict=True):
        output = np.zeros(reduce.output_shape, own.dtype)
        kernel = build_row_reduce(reduce, own, machine(isa))
        read = run(kernel, isa, (read, *given_to), output)
        found.append(read)
    powers, totals = found
    given_to = list(operands[3])
    given_to.insert(work.total, totals.reshape(*work.contexts.output_shape[:2], 1))
    return run(
        build_batch_matmul(work.contexts, epilogue, machine(isa)), isa,
        (powers.reshape(work.scores.output_shape), data[2], *given_to),
        np.zeros(work.contexts.output_memory, epilogue.dtype),
    )  # fmt: skip


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("make", [of_floats, of_codes])
@FEW
@given(images=st.integers(1, 2), heads=st.integers(1, 3), m=ROWS, k=st.sampled_from([16, 48]),
       n=st.sampled_from([5, 64, 67, 130]), d=st.sampled_from([8, 17]), data=st.data())  # fmt: skip
def test_one_kernel_gives_what_four_give(isa, make, images, heads, m, n, k, d, data):
    batch = images * heads
    strided = (
        data.draw(st.sampled_from([None, by_rows(heads, m, k)])),
        data.draw(st.sampled_from([None, by_rows(heads, k, n), as_keys(heads, k, n)])),
        data.draw(st.sampled_from([None, by_rows(heads, m, d)])),
    )
    mask = data.draw(st.sampled_from([(), (n,), (m, n), (batch, 1, n), (batch, m, n), (m, 1)]))
    work, epilogue = make(images, heads, m, n, k, d, strided, mask)
    if not attends(work, machine(isa)):
        assert work.scores.right == as_keys(heads, k, n)  # as in test_strided_products
        return
    random = np.random.default_rng(m)
    memory = [
        random_tensor(random, work.scores.left_memory, work.scores.data),
        random_tensor(random, work.scores.right_memory, work.scores.weight),
        random_tensor(random, work.contexts.right_memory, work.contexts.weight),
    ]
    epilogues = (*work.epilogues, epilogue)
    operands = [
        [_operand(random, each) for each in own.operands if each.shape != (batch, m, 1)]
        for own in epilogues
    ]
    expected = one_after_another(work, epilogue, isa, memory, operands)
    kernel = build_attention(work, epilogue, machine(isa))
    flat = [value for own in operands for value in own]
    actual = run(kernel, isa, (*memory, *flat), np.zeros_like(expected))
    assert np.isfinite(expected.astype(np.float32)).all()
    assert np.array_equal(actual, expected)


def _operand(random, operand):
    if operand.dtype == "float32":
        return (1 + random.random(operand.shape)).astype("float32")
    return random.integers(-1000, 1000, operand.shape).astype(operand.dtype)


def test_threads_are_started_once():
    work, epilogue = of_codes(1, 2, 64, 64, 16, 8, (None, None, None), ())
    text = build_attention(work, epilogue, MACHINES["avx2"]).func.script()
    assert text.count("T.parallel(") == 1
