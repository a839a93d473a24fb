"""Transposed blocks equal numpy's transposition, with full and overlapping blocks."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hago.codegen.epilogue import Epilogue
from hago.codegen.fold import fold
from hago.codegen.kernels.transpose import build_transpose, transposes
from hago.codegen.workload import Permute
from tests.codegen.isa import MACHINES, machine, random_tensor, run
from tests.codegen.judge import assert_equal
from tests.codegen.recipes import PLAIN, recipes
from tests.codegen.workloads import FEW

# One, two and a bit of the rows of a block (16 or 64), and of its columns.
ROWS, COLUMNS = [64, 65, 128, 197], [16, 17, 32, 49]


def tensor(workload):
    return random_tensor(np.random.default_rng(0), workload.shape, workload.data)


def check(workload, epilogue, operands, isa):
    data = tensor(workload)
    assert transposes(workload, machine(isa))
    kernel = build_transpose(workload, fold(epilogue), machine(isa))
    output = np.zeros(workload.output_shape, epilogue.dtype)
    actual = run(kernel, isa, [data, *operands], output)
    assert_equal(actual, epilogue, data.transpose(workload.axes), operands)


@pytest.mark.parametrize("isa", MACHINES)
@FEW
@given(
    rows=st.sampled_from(ROWS), columns=st.sampled_from(COLUMNS), lead=st.integers(1, 3),
    heads=st.integers(1, 3), data=st.sampled_from(["float32", "uint8", "int8"]),
    order=st.sampled_from([order for order in itertools.permutations(range(4)) if order[-1] == 1]),
    recipe=recipes(PLAIN),
)  # fmt: skip
def test_any_permutation_that_moves_the_last_axis(
    isa, rows, columns, lead, heads, data, order, recipe
):
    workload = Permute((lead, rows, heads, columns), order, data)
    random = np.random.default_rng(1)
    accumulator = tensor(workload).transpose(order)
    epilogue, operands = recipe.build(accumulator, random)
    check(workload, epilogue, operands, isa)


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("data", ["float32", "uint8", "int8"])
def test_keys_of_attention(data, isa):
    check(Permute((1, 128, 12, 32), (0, 2, 3, 1), data), Epilogue(data, data), [], isa)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((4, 64, 64), (1, 0, 2)), ((2, 64, 15), (0, 2, 1)), ((2, 63, 16), (0, 2, 1)), ((64,), (0,))],
)
def test_other_permutations_are_left_to_tvm(shape, axes):
    assert not transposes(Permute(shape, axes, "uint8"), MACHINES["vnni"])
