"""Products of activations whose matrices lie side by side, as the heads of an attention do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.batch_matmul import build_batch_matmul, multiplies_batches
from hago.codegen.workload import BatchMatmul, Strides
from tests.codegen.isa import MACHINES, machine, random_tensor, run
from tests.codegen.workloads import FEW

SIZES = st.sampled_from([1, 3, 8, 16, 17, 33, 48])
TYPES = {"float32": ("float32", "float32"), "codes": ("uint8", "int8")}


def by_rows(heads, rows, columns):
    """[image, row, head, column]"""
    return Strides(heads, rows * heads * columns, columns, heads * columns)


def as_keys(heads, rows, columns):
    """[image, column, head, row]"""
    return Strides(heads, rows * heads * columns, rows, 1, heads * rows)


def matrices(memory, strides, shape):
    """``memory`` as [images * heads, rows, columns]."""
    if strides is None:
        return memory.reshape(shape)
    size, (batch, rows, columns) = memory.itemsize, shape
    steps = (strides.image, strides.head, strides.row, strides.column)
    view = np.lib.stride_tricks.as_strided(
        memory, (batch // strides.heads, strides.heads, rows, columns), [s * size for s in steps]
    )
    return view.reshape(shape)


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("types", TYPES)
@FEW
@given(images=st.integers(1, 2), heads=st.integers(1, 3), m=SIZES, n=SIZES,
       k=st.sampled_from([4, 8, 16, 32, 48]), data=st.data())  # fmt: skip
def test_matrices_are_read_and_written_where_they_lie(isa, types, images, heads, m, n, k, data):
    batch = images * heads
    rights = [None, by_rows(heads, k, n), as_keys(heads, k, n)]
    plain = BatchMatmul(batch, m, n, k, *TYPES[types])
    workload = BatchMatmul(
        batch, m, n, k, *TYPES[types],
        left=data.draw(st.sampled_from([None, by_rows(heads, m, k)])),
        right=data.draw(st.sampled_from(rights)),
        output=data.draw(st.sampled_from([None, by_rows(heads, m, n)])),
    )  # fmt: skip
    if not multiplies_batches(workload, machine(isa)):
        assert workload.right == rights[2]  # whole words of keys are transposed alone
        return
    random = np.random.default_rng(k)
    left = random_tensor(random, (plain.batch * m * k,), workload.data)
    right = random_tensor(random, (plain.batch * k * n,), workload.weight)
    operands = [
        matrices(left, workload.left, (batch, m, k)).astype(np.float64),
        matrices(right, workload.right, (batch, k, n)).astype(np.float64),
    ]
    kernel = build_batch_matmul(workload, Epilogue(workload.accum, workload.accum), machine(isa))
    memory = (left.reshape(workload.left_memory), right.reshape(workload.right_memory))
    result = run(kernel, isa, memory, np.zeros(workload.output_memory, workload.accum))
    actual = matrices(np.ascontiguousarray(result), workload.output, (batch, m, n))
    np.testing.assert_allclose(actual, operands[0] @ operands[1], rtol=1e-5, atol=1e-5 * k)


@pytest.mark.parametrize(("changed", "taken"), [
    ({}, True),
    ({"left": by_rows(2, 8, 32)}, True),
    ({"left": Strides(2, 512, 1, 64, 2)}, False),  # elements of other heads between its own
    ({"k": 30, "left": by_rows(2, 8, 30)}, False),  # rows end inside a word
    ({"right": as_keys(2, 32, 16)}, True),
    ({"k": 4, "right": as_keys(2, 4, 16)}, False),  # rows of one word
    ({"output": Strides(2, 256, 1, 32, 2)}, False),
])  # fmt: skip
def test_what_is_not_read_in_vectors_is_not_taken(changed, taken):
    workload = BatchMatmul(**{"batch": 2, "m": 8, "n": 16, "k": 32, "data": "uint8",
                              "weight": "int8", **changed})  # fmt: skip
    assert multiplies_batches(workload, MACHINES["vnni"]) == taken


def test_a_machine_that_widens_bytes_leaves_keys_to_a_permutation():
    workload = BatchMatmul(2, 8, 16, 32, "uint8", "int8", right=as_keys(2, 32, 16))
    assert not multiplies_batches(workload, MACHINES["avx512"])


def test_strides_say_where_a_matrix_begins():
    strides = by_rows(3, 5, 7)
    starts = [strides.start(matrix) for matrix in range(6)]
    assert starts == [0, 7, 14, 105, 112, 119]


