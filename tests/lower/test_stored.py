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


def shifted_codes(bits, shape, seed=0):
    """Convolution weights OHWI whose channels have windows of ``bits`` bits around 0 or beside
    it."""
    random = np.random.default_rng(seed)
    low = -random.integers(0, 2**bits, (shape[0], 1, 1, 1))
    return (low + random.integers(0, 2**bits, shape)).astype(np.int8)


def convolution(codes, groups=1, size=7):
    builder = relax.BlockBuilder()
    channels = codes.shape[-1] * groups
    data = relax.Var("x", relax.TensorType((1, size, size, channels), "uint8"))
    with builder.function("main", [data]):
        with builder.dataflow():
            call = relax.op.nn.conv2d(
                data, relax.const(codes), padding=codes.shape[1] // 2, groups=groups,
                data_layout="NHWC", kernel_layout="OHWI", out_dtype="int32",
            )  # fmt: skip
            result = builder.emit_output(builder.emit(call, name_hint="conv2d_1"))
        builder.emit_func_output(result)
    return builder.get()


SHAPES = {
    "1x1": ((48, 1, 1, 64), 1),
    "3x3, a rest of channels": ((41, 3, 3, 30), 1),
    "groups": ((64, 3, 3, 32), 2),
    "depthwise": ((384, 3, 3, 1), 384),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("bits", [3, 4, 6])
def test_codes_with_zero_points_take_their_bits_too(name, bits):
    shape, groups = SHAPES[name]
    codes = shifted_codes(bits, shape)
    module, spec = convolution(codes, groups), SPEC
    plain = constant_bytes(lower(convolution(codes_of(bits, shape), groups), spec))
    # A byte for each channel, in whole vectors of them.
    assert constant_bytes(lower(module, spec)) <= plain + -(-shape[0] // 16 // groups) * groups * 16


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("bits", [2, 4, 5])
def test_what_has_zero_points_computes_the_same(name, bits):
    shape, groups = SHAPES[name]
    module = convolution(shifted_codes(bits, shape), groups)
    image = (1, 7, 7, shape[-1] * groups)
    data = np.random.default_rng(1).integers(0, 256, image).astype(np.uint8)
    (expected,) = interpret(module, {"x": data})
    (actual,) = compile_callable(module, host_spec())({"x": data}).values()
    assert np.array_equal(actual, expected)
