"""Loops that TVM generated get threads and vectors, and compute the same."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm import tirx as tir

from hago.hardware.load import load_spec
from hago.lower.build import build
from hago.lower.rest import lower_rest
from tests.lower.loops import is_scheduled

SPEC = load_spec("x86-avx2")
OPERATIONS = {
    "transpose": lambda x: relax.op.permute_dims(x, [0, 2, 1, 3]),
    "transpose of the last axis": lambda x: relax.op.permute_dims(x, [0, 3, 1, 2]),
    "sum over rows": lambda x: relax.op.sum(x, axis=[1, 2]),
    "sum over everything": relax.op.sum,
    "concatenation": lambda x: relax.op.concat([x, x], axis=3),
    "slice": lambda x: relax.op.strided_slice(x, [2], [1], [9]),
    "slice of rows of half vectors": lambda x: relax.op.strided_slice(x, [3], [0], [12]),
    "odd slice": lambda x: relax.op.strided_slice(x, [3], [1], [20]),
    "take": lambda x: relax.op.take(x, relax.const(np.array([3, 0, 1])), axis=1),
}


def module_of(operation) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 12, 64, 32), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(operation(x))
        builder.emit_func_output(result)
    return builder.get()


def run(module: tvm.IRModule, value: np.ndarray) -> np.ndarray:
    machine = relax.VirtualMachine(build(module, SPEC), tvm.cpu())
    return machine["main"](tvm.runtime.tensor(value)).numpy()


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_scheduled_loops_compute_the_same(operation):
    module = module_of(operation)
    value = np.random.default_rng(0).standard_normal((1, 12, 64, 32), dtype=np.float32)
    plain = relax.transform.LegalizeOps()(module)
    assert np.array_equal(run(lower_rest(module, SPEC), value), run(plain, value))


def test_what_sorts_is_left_to_the_runtime():
    value = np.random.default_rng(0).standard_normal((1, 12, 64, 32), dtype=np.float32)
    largest = module_of(lambda x: relax.op.topk(x, 3, axis=-1, ret_type="values"))
    expected = np.sort(value, axis=-1)[..., :-4:-1]
    assert np.array_equal(run(lower_rest(largest, SPEC), value), expected)


@pytest.mark.parametrize(
    "name", ["transpose", "sum over rows", "slice", "slice of rows of half vectors"]
)
def test_rows_of_whole_vectors_become_vectors(name):
    lowered = lower_rest(module_of(OPERATIONS[name]), SPEC)
    functions = [f for _, f in lowered.functions_items() if isinstance(f, tir.PrimFunc)]
    assert all(is_scheduled(function) for function in functions)
    assert any("T.parallel" in function.script() for function in functions)
