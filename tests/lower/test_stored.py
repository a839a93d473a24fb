"""Weights of few bits lie packed in the library, and compute as before."""

import numpy as np
import pytest
from tvm import relax

from hago.hardware.host import host_spec, missing_features
from hago.hardware.load import load_spec
from hago.lower.build import build
from hago.lower.callable import compile_callable
from hago.lower.lower import lower
from hago.lower.stored import constant_bytes
from hago.realize.interpret import interpret

SPEC = load_spec("x86-vnni")


def product(codes, rows=64, dtype="uint8"):
    """Bytes [rows, k] by the constant ``codes`` [k, n]."""
    builder = relax.BlockBuilder()
    data = relax.Var("x", relax.TensorType((rows, len(codes)), dtype))
    with builder.function("main", [data]):
        with builder.dataflow():
            call = relax.op.matmul(data, relax.const(codes), out_dtype="int32")
            result = builder.emit_output(builder.emit(call, name_hint="matmul_1"))
        builder.emit_func_output(result)
    return builder.get()


def codes_of(bits, shape=(256, 128)):
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    return np.random.default_rng(0).integers(low, high, shape).astype(np.int8)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_codes_take_their_bits(bits):
    codes = codes_of(bits)
    assert constant_bytes(lower(product(codes), SPEC)) == codes.size * bits // 8


@pytest.mark.parametrize("bits", [7, 8])
def test_wider_ones_stay_bytes(bits):
    codes = codes_of(bits)
    assert constant_bytes(lower(product(codes), SPEC)) == codes.size


def test_so_do_a_few():
    codes = codes_of(4, (64, 16))
    assert constant_bytes(lower(product(codes), SPEC)) == codes.size


def test_products_are_the_same():
    module = product(codes_of(4, (255, 77)))
    data = np.random.default_rng(1).integers(0, 256, (64, 255)).astype(np.uint8)
    (expected,) = interpret(module, {"x": data})
    (actual,) = compile_callable(module, host_spec())({"x": data}).values()
    assert np.array_equal(actual, expected)


def test_the_library_is_smaller_by_what_was_saved(tmp_path):
    sizes = []
    for bits in (4, 8):
        path = tmp_path / f"{bits}.so"
        build(lower(product(codes_of(bits, (1024, 1024))), SPEC), SPEC).export_library(str(path))
        sizes.append(path.stat().st_size)
    code = 2**14  # of the function that unpacks, and rounding to pages
    assert sizes[0] <= sizes[1] - 2**19 + code


@pytest.mark.skipif(bool(missing_features(SPEC)), reason="this CPU has no AVX-512 VNNI")
def test_each_call_with_one_shape_has_its_own_weights():
    builder, data = relax.BlockBuilder(), relax.Var("x", relax.TensorType((64, 64), "uint8"))
    first, second = (codes_of(4, (64, 64)), codes_of(3, (64, 64)))
    with builder.function("main", [data]):
        with builder.dataflow():
            calls = [relax.op.matmul(data, relax.const(c), out_dtype="int32")
                     for c in (first, second, first[::-1].copy())]  # fmt: skip
            found = [builder.emit_output(builder.emit(call)) for call in calls]
        builder.emit_func_output(relax.Tuple(found))
    module = builder.get()
    values = np.random.default_rng(1).integers(0, 256, (64, 64)).astype(np.uint8)
    expected = interpret(module, {"x": values})
    actual = compile_callable(module, SPEC)({"x": values}).values()
    assert all(np.array_equal(a, e) for a, e in zip(actual, expected, strict=True))


@pytest.mark.parametrize("machine", ["x86-amx", "x86-avx2", "arm-dotprod", "arm-i8mm", "arm-neon"])
@pytest.mark.parametrize("rows", [1, 64])
def test_every_machine_builds_them(machine, rows):
    spec, codes = load_spec(machine), codes_of(4)
    lowered = lower(product(codes, rows, spec.ops[0].inputs[0].dtype.storage), spec)
    assert constant_bytes(lowered) == codes.size // 2
    build(lowered, spec)
