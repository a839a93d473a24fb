"""Kernels are compiled once in a process, and called by every program that has them."""

from dataclasses import replace

import numpy as np
import pytest
import tvm
from tvm import relax

from hago.hardware.host import host_spec
from hago.lower import objects
from hago.lower.build import build
from hago.lower.lower import lower

ROWS, SPEC = 16, host_spec()


def product(weight, *, observed=False):
    """``relu(x W)``; the product is a result, too, where it is ``observed``."""
    builder = relax.BlockBuilder()
    data = relax.Var("x", relax.TensorType((ROWS, len(weight)), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            first = builder.emit(relax.op.matmul(data, relax.const(weight)))
            second = builder.emit(relax.op.nn.relu(relax.op.matmul(first, relax.const(weight))))
            results = [builder.emit_output(second)]
            results += [builder.emit_output(first)] if observed else []
        builder.emit_func_output(relax.Tuple(results))
    return builder.get()


def weight_of(seed, size=32):
    return np.random.default_rng(seed).standard_normal((size, size)).astype(np.float32)


def kernels(module):
    return {str(var.name_hint) for var in lower(module, SPEC).get_global_vars()} - {"main"}


@pytest.fixture
def compiled():
    """How many kernels were compiled since the test began."""
    objects._object.cache_clear()
    return lambda: objects._object.cache_info().misses


def test_equal_kernels_of_different_models_have_one_name():
    assert kernels(product(weight_of(0))) == kernels(product(weight_of(1)))
    assert not kernels(product(weight_of(0))) & kernels(product(weight_of(0, 48)))


def test_a_kernel_is_compiled_once_for_all_models(compiled):
    build(lower(product(weight_of(0)), SPEC), SPEC)
    assert compiled() == 2
    build(lower(product(weight_of(1), observed=True), SPEC), SPEC, "bytecode")
    assert compiled() == 2
    build(lower(product(weight_of(0, 48)), SPEC), SPEC)
    assert compiled() == 4


def test_another_target_has_its_own_code(compiled):
    lowered = lower(product(weight_of(0)), SPEC)
    build(lowered, SPEC)
    build(lowered, replace(SPEC, target={**SPEC.target, "mcpu": "generic"}))
    assert compiled() == 4


@pytest.mark.parametrize("mode", ["compiled", "bytecode"])
def test_a_program_runs_without_an_artifact(mode):
    weight = weight_of(0)
    data = np.random.default_rng(1).standard_normal((ROWS, len(weight))).astype(np.float32)
    machine = relax.VirtualMachine(build(lower(product(weight), SPEC), SPEC, mode), tvm.cpu())
    (result,) = machine["main"](tvm.runtime.tensor(data))
    # Sums of 32 products in another order: each within 32 roundings of its magnitudes' sum.
    first, magnitudes = data @ weight, np.abs(data) @ np.abs(weight)
    bound = 2 * len(weight) * np.finfo(np.float32).eps * (magnitudes @ np.abs(weight))
    assert (np.abs(result.numpy() - np.maximum(first @ weight, 0)) <= bound).all()


def test_a_long_program_is_not_optimised_and_computes_the_same(monkeypatch, tmp_path):
    lowered = lower(product(weight_of(0)), SPEC)
    data = tvm.runtime.tensor(np.random.default_rng(1).normal(size=(ROWS, 32)).astype("float32"))
    found = []
    for most in (1000, 0):
        monkeypatch.setattr("hago.lower.build._MOST_OPTIMISED", most)
        program = build(lowered, SPEC)
        found.append(relax.VirtualMachine(program, tvm.cpu())["main"](data)[0].numpy())
    np.testing.assert_array_equal(*found)
    program.export_library(str(tmp_path / "long.so"))
    assert b"SystemLib" not in (tmp_path / "long.so").read_bytes()  # it registers nothing


@pytest.mark.parametrize("mode", ["compiled", "bytecode"])
def test_main_refuses_what_its_kernels_do_not_check(mode):
    machine = relax.VirtualMachine(
        build(lower(product(weight_of(0)), SPEC), SPEC, mode), tvm.cpu()
    )
    for wrong in (np.zeros((ROWS, 31), np.float32), np.zeros((ROWS, 32), np.int32)):
        with pytest.raises((ValueError, RuntimeError, TypeError)):
            machine["main"](tvm.runtime.tensor(wrong))
