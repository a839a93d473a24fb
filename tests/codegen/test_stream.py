"""Weights are fetched ahead, all of them, while the block in front is multiplied."""

from __future__ import annotations

import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st

from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.matmul import build_matmul
from hago.codegen.stream import plan_stream
from hago.codegen.workload import Machine, Matmul
from hago.hardware.load import load_spec

SMALL = st.integers(1, 64)
SIZES = st.sampled_from([16, 32, 64])


@given(
    columns=st.integers(1, 4), rows=SMALL, taps=st.integers(1, 9), steps=SMALL, size=SIZES
)
def test_the_tiles_of_a_block_together_fetch_the_whole_next_block(
    columns, rows, taps, steps, size
):
    plan = plan_stream(columns, rows, steps, size)
    assert steps % plan.every == 0
    assert rows * plan.ahead(taps * steps) >= columns * taps * steps


@given(columns=st.integers(1, 4), rows=SMALL, size=SIZES)
def test_where_steps_divide_well_little_is_fetched_twice(columns, rows, size):
    """``rows // columns`` loses less than half, and rounding the count up at most that again, and
    the rest of a line."""
    plan = plan_stream(columns, rows, 2**4 * 3**3 * 5 * 7, size)
    assert rows * plan.count * plan.vectors < columns * plan.every + rows * plan.vectors


@pytest.mark.parametrize("size", [16, 32, 64])
def test_no_line_is_fetched_twice_at_a_step(size):
    """A tile of one row meets the next block's vectors one after another: whole lines of them."""
    plan = plan_stream(columns=4, rows=1, steps=256, size=size)
    assert plan.vectors * size == 64
    assert plan.ahead(256) == 4 * 256


@pytest.mark.parametrize(("m", "is_streamed"), [(16, True), (4096, False)])
def test_only_weights_that_are_larger_than_the_data_are_streamed(m, is_streamed):
    spec = load_spec("x86-avx512")
    work = Matmul(m, 256, 512)
    kernel = build_matmul(work, Epilogue("float32", "float32"), Machine(64, frozenset({"vfmadd"})))
    library = tvm.compile(kernel.func, tvm.target.Target(spec.target)).mod
    assert ("prefetcht1" in library.inspect_source("s")) == is_streamed
