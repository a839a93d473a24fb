"""Kernel calls on places in one block of memory."""

import numpy as np
import pytest
from tvm import relax

from hago.deploy.static_plan import ALIGNMENT, _Block, place, static_plan
from hago.errors import BuildError
from hago.hardware.host import host_spec
from hago.lower.lower import lower
from hago.realize import realize
from tests.graphs import attention, input_for, quantized


def test_values_that_are_never_alive_together_share_bytes():
    blocks = [_Block(100, 0, 1), _Block(100, 1, 2), _Block(100, 2, 3)]
    offsets, total = place(blocks)
    assert offsets == [0, 128, 0]
    assert total == 228


def test_the_largest_comes_first_and_others_where_they_fit():
    offsets, total = place([_Block(64, 0, 4), _Block(256, 0, 1), _Block(128, 2, 4)])
    assert offsets == [256, 0, 0]
    assert total == 320


def test_nothing_overlaps_what_lives_with_it():
    random = np.random.default_rng(0)
    firsts = random.integers(0, 40, 60)
    blocks = [_Block(int(random.integers(1, 999)), int(f), int(f + random.integers(0, 9)))
              for f in firsts]  # fmt: skip
    offsets, total = place(blocks)
    assert total < sum(block.size for block in blocks)
    for i, a in enumerate(blocks):
        assert offsets[i] % ALIGNMENT == 0
        for j, b in enumerate(blocks[:i]):
            apart = offsets[i] >= offsets[j] + b.size or offsets[j] >= offsets[i] + a.size
            assert apart or a.last < b.first or b.last < a.first


@pytest.fixture(scope="module")
def plan():
    module = attention()
    model = quantized(module, host_spec(), input_for(module))
    return static_plan(lower(realize(model), host_spec()))


def test_equal_constants_are_held_once_and_aligned(plan):
    constants = {t.offset: t for _, given in plan.calls for t in given if t.is_constant}
    assert constants
    assert all(offset % ALIGNMENT == 0 for offset in constants)
    held = [plan.constants[t.offset : t.offset + t.size_bytes] for t in constants.values()]
    assert len(set(held)) == len(held)


def test_what_a_kernel_reads_was_given_or_written_before(plan):
    written = {tensor.offset for tensor in plan.inputs}
    for _, given in plan.calls:
        *read, output = given
        assert {t.offset for t in read if not t.is_constant} <= written
        written.add(output.offset)
    assert {tensor.offset for tensor in plan.outputs} <= written


def test_what_needs_the_runtime_is_refused():
    x = relax.Var("x", relax.TensorType((4, 4), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_output(relax.op.exp(x))
        builder.emit_func_output(y)
    with pytest.raises(BuildError, match="needs TVM's runtime"):
        static_plan(builder.get())
