"""Permutations around products of activations become distances in memory."""

import numpy as np
import pytest
import tvm
from tvm import relax

from hago.codegen.workload import BatchMatmul, Permute, Strides
from hago.hardware.host import missing_features
from hago.hardware.load import load_spec
from hago.lower.build import build
from hago.lower.group import find_groups
from hago.lower.in_place import in_place, strides_of
from hago.lower.lower import lower
from hago.lower.view import view_of
from tests.graphs import Builder, all_values, input_for

HEADS, ROWS, WIDTH = 3, 24, 16


def attention(readers_of_keys=1):
    """Several heads over [1, 24, 48], each 16 wide."""
    b = Builder(1, ROWS, HEADS * WIDTH)
    query, key, value = (heads_of(b, name, axes) for name, axes in (
        ("query", (0, 2, 1, 3)), ("key", (0, 2, 3, 1)), ("value", (0, 2, 1, 3))))  # fmt: skip
    scores = b.emit("scores", relax.op.matmul(query, key))
    context = b.emit("context", relax.op.permute_dims(b.attend(scores, value), (0, 2, 1, 3)))
    flat = b.emit("flat", relax.op.reshape(context, (1, ROWS, HEADS * WIDTH)))
    others = [b.emit(f"sum{i}", relax.op.sum(key, axis=[2])) for i in range(1, readers_of_keys)]
    return b.done(b.dense("out", flat, 8), *others)


def heads_of(b, name, axes):
    rows = b.emit(f"{name}_rows", relax.op.reshape(
        b.dense(name, b.input, HEADS * WIDTH), (1, ROWS, HEADS, WIDTH)))  # fmt: skip
    return b.emit(f"{name}_heads", relax.op.permute_dims(rows, axes))


def folded(module, takes=lambda workload: True):
    view = view_of(module)
    return in_place(find_groups(view), view, takes)


def products(groups):
    return [group.workload for group in groups if isinstance(group.workload, BatchMatmul)]


def test_an_attention_has_no_permutation_left():
    groups = folded(attention())
    assert not any(isinstance(group.workload, Permute) for group in groups)
    scores, context = products(groups)
    rows = Strides(HEADS, 0, WIDTH, HEADS * WIDTH)
    assert scores.left == context.right == context.output == rows
    assert scores.right == Strides(HEADS, 0, WIDTH, 1, HEADS * WIDTH)
    assert context.left is scores.output is None


def test_what_others_read_stays_in_memory():
    scores, context = products(folded(attention(readers_of_keys=2)))
    assert scores.right is None
    assert scores.left == context.right


def test_what_no_kernel_takes_stays_as_it_is():
    module = attention()
    view = view_of(module)
    groups = find_groups(view)
    assert [g.workload for g in in_place(groups, view, lambda w: False)] == [
        g.workload for g in groups
    ]
    (scores, _) = products(folded(module, lambda w: w.right is None and w.output is None))
    assert scores.left is not None
    assert scores.right is None


@pytest.mark.parametrize("hardware", ["x86-vnni", "x86-avx2"])
def test_the_kernels_compute_what_the_module_means(hardware):
    spec = load_spec(hardware)
    if missing_features(spec):
        pytest.skip(f"this CPU lacks {', '.join(missing_features(spec))}")
    module = attention()
    inputs = input_for(module)
    expected = all_values(module, inputs)["result"]
    lowered = lower(module, spec)
    assert not any("transpose" in str(name.name_hint) for name in lowered.get_global_vars())
    machine = relax.VirtualMachine(build(lowered, spec), tvm.cpu())
    actual = machine["main"](tvm.runtime.tensor(inputs["x"])).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("extents", "steps", "strides"), [
    ((4, 5), (5, 1), Strides(1, 0, 0, 5)),
    ((1, 3, 4, 5), (99, 20, 5, 1), Strides(3, 0, 20, 5)),
    ((2, 3, 4, 5), (60, 5, 15, 1), Strides(3, 60, 5, 15)),
    ((2, 3, 4, 5), (60, 20, 5, 1), Strides(6, 0, 20, 5)),  # heads of images are one axis
    ((2, 1, 3, 4, 5), (60, 7, 5, 1, 15), Strides(3, 60, 5, 1, 15)),
    ((2, 3, 2, 4, 5), (120, 5, 60, 15, 1), None),
])  # fmt: skip
def test_strides_of_permuted_axes(extents, steps, strides):
    assert strides_of(extents, steps) == strides
