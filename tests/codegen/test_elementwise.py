"""Every elementwise operation, alone and in chains, equals its numpy meaning."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.fold import fold
from hago.codegen.kernels.elementwise import build_elementwise
from hago.codegen.vector import OPERATIONS
from hago.codegen.workload import Elementwise
from tests.codegen.isa import MACHINES, machine, random_tensor, run
from tests.codegen.judge import assert_equal
from tests.codegen.recipes import Recipe, recipes
from tests.codegen.workloads import FEW

# Every order of magnitude, both signs, zeros, and integers with their halves.
REALS = np.concatenate([
    np.logspace(-30, 30, 61), -np.logspace(-30, 30, 61), np.linspace(-100, 100, 401), [0.0, -0.0],
]).astype(np.float32)  # fmt: skip
SMALL = REALS[np.abs(REALS) <= 100]
INTEGERS = np.array([-(2**31), -(2**24), -129, -1, 0, 1, 255, 256, 2**24, 2**31 - 1], np.int32)
BYTES = {dtype: np.arange(*bounds, dtype=np.int32).astype(dtype)
         for dtype, bounds in {"uint8": (0, 256), "int8": (-128, 128)}.items()}  # fmt: skip


def apply(op, isa, data, *others, consts=(), dtype="float32"):
    operands = tuple(Operand(other.shape, str(other.dtype)) for other in others)
    steps = (Step(op, tuple(range(1 + len(others))), consts),)
    epilogue = Epilogue(str(data.dtype), dtype, operands, steps)
    kernel = build_elementwise(Elementwise(data.shape, str(data.dtype)), epilogue, machine(isa))
    actual = run(kernel, isa, [data, *others], np.zeros(data.shape, dtype))
    return actual, epilogue.evaluate(data, others)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@pytest.mark.parametrize("op", ["negative", "relu", "round", "float"])
def test_operations_that_are_exact(op, isa):
    actual, exact = apply(op, isa, REALS)
    np.testing.assert_array_equal(actual, exact)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@pytest.mark.parametrize("op", ["add", "subtract", "multiply", "divide", "maximum", "minimum"])
def test_operations_on_two_tensors(op, isa):
    with np.errstate(divide="ignore", invalid="ignore"):
        actual, exact = apply(op, isa, SMALL, SMALL[::-1] + np.float32(0.5))
    np.testing.assert_array_equal(actual, exact)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@pytest.mark.parametrize("op", ["add_const", "multiply_const", "divide_const"])
def test_operations_on_a_number(op, isa):
    actual, exact = apply(op, isa, SMALL, consts=(0.3,))
    np.testing.assert_array_equal(actual, exact)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@pytest.mark.parametrize("op", ["add_int32", "subtract_int32", "multiply_int32"])
def test_operations_on_integers(op, isa):
    small = INTEGERS // 2**16
    actual, exact = apply(op, isa, small, small[::-1].copy(), dtype="int32")
    np.testing.assert_array_equal(actual, exact)


# (relative, absolute) errors that hago/codegen/vector.py promises, and float32's own of numpy.
ERRORS = {
    "exp": (4e-7, 0.0), "sqrt": (1.2e-7, 0.0), "sigmoid": (6e-7, 1e-37), "erf": (0.0, 6e-7),
    "tanh": (0.0, 6e-7), "gelu": (6e-7, 3e-6), "gelu_tanh": (6e-7, 3e-6), "silu": (1e-6, 1e-35),
}  # fmt: skip


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@pytest.mark.parametrize("op", ERRORS)
def test_functions_have_the_promised_error(op, isa):
    domain = {"exp": SMALL[np.abs(SMALL) < 87], "sqrt": SMALL[SMALL >= 0]}.get(op, SMALL)
    domain = domain[np.abs(domain) <= 20] if "gelu" in op else domain
    actual, _ = apply(op, isa, domain)
    wide = OPERATIONS[op].evaluate(domain)
    relative, absolute = ERRORS[op]
    np.testing.assert_allclose(actual, wide, rtol=relative, atol=absolute)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
def test_exp_neither_overflows_nor_makes_denormals(isa):
    with np.errstate(over="ignore"):
        actual, _ = apply("exp", isa, REALS)
    assert np.all(np.isfinite(actual))
    assert actual.min() >= np.finfo(np.float32).tiny


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("zero_point", [0, 1, 127])
def test_quantize_rounds_half_to_even_and_saturates(zero_point, dtype, isa):
    bounds = np.iinfo(dtype)
    halves = (np.arange(-700, 700) / 2).astype(np.float32)
    # Products with 1 / 0.5 are exact, so ties are ties.
    data = np.concatenate([halves, REALS[np.abs(REALS) < 1e30], [1e9, -1e9]]).astype(np.float32)
    consts = (0.5, float(zero_point), float(bounds.min), float(bounds.max))
    steps = (Step("quantize", (0,), consts), Step(dtype, (1,)))
    epilogue = fold(Epilogue("float32", dtype, (), steps))
    kernel = build_elementwise(Elementwise(data.shape), epilogue, machine(isa))
    actual = run(kernel, isa, [data], np.zeros(data.shape, dtype))
    exact = np.clip(np.rint(data.astype(np.float64) * 2) + zero_point, bounds.min, bounds.max)
    np.testing.assert_array_equal(actual, exact)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@pytest.mark.parametrize("dtype", BYTES)
def test_every_code_becomes_its_number(dtype, isa):
    for op, wanted in (("float", "float32"), ("int32", "int32")):
        actual, _ = apply(op, isa, BYTES[dtype], dtype=wanted)
        np.testing.assert_array_equal(actual, BYTES[dtype].astype(wanted))


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
def test_fake_quantization_reads_its_numbers_from_memory(isa):
    numbers = [np.asarray(value, np.float32) for value in (0.5, 3.0, -128.0, 127.0)]
    actual, exact = apply("fake_quantize", isa, SMALL, *numbers)
    np.testing.assert_array_equal(actual, exact)


@pytest.mark.parametrize("isa", MACHINES)
@FEW
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3).flatmap(
        lambda lead: st.integers(1, 70).map(lambda last: (*lead, last))
    ),
    data=st.sampled_from(["float32", "uint8", "int8", "int32"]),
    recipe=recipes(),
)
def test_any_chain_over_any_shape(isa, shape, data, recipe):
    random = np.random.default_rng(0)
    codes = random_tensor(random, shape, "int8" if data == "int32" else data)
    accumulator = codes.astype(data)
    epilogue, operands = recipe.build(accumulator, random)
    kernel = build_elementwise(Elementwise(shape, data), fold(epilogue), machine(isa))
    actual = run(kernel, isa, [accumulator, *operands], np.zeros(shape, epilogue.dtype))
    assert_equal(actual, epilogue, accumulator, operands)


@pytest.mark.parametrize("broadcast", [(), (1,), (6, 1), (4, 1, 20), (1, 6, 1), (4, 6, 20)])
def test_operands_broadcast_as_in_numpy(broadcast):
    random = np.random.default_rng(0)
    data, other = (random.normal(size=s).astype(np.float32) for s in ((4, 6, 20), broadcast))
    operands, steps = (Operand(broadcast, "float32"),), (Step("add", (0, 1)),)
    epilogue = Epilogue("float32", "float32", operands, steps)
    kernel = build_elementwise(Elementwise(data.shape), epilogue, machine("avx2"))
    actual = run(kernel, "avx2", [data, other], np.zeros_like(data))
    np.testing.assert_array_equal(actual, data + other)


def test_a_scalar_is_a_tensor_of_one_element():
    recipe, random = Recipe(activation="relu", output="uint8"), np.random.default_rng(0)
    accumulator = np.asarray([3.0], np.float32)
    epilogue, operands = recipe.build(accumulator, random)
    kernel = build_elementwise(Elementwise((1,)), fold(epilogue), machine("avx2"))
    actual = run(kernel, "avx2", [accumulator, *operands], np.zeros(1, np.uint8))
    assert_equal(actual, epilogue, accumulator, operands)
