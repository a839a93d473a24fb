"""Schemes and their numbers: what a code stands for, and how far from the truth it may be."""

from dataclasses import FrozenInstanceError

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hago.scheme import (
    BFLOAT16,
    E4M3,
    E5M2,
    FLOAT16,
    FLOAT32,
    INT4,
    INT7,
    INT8,
    INT8_PAIRS,
    INT16,
    INT32,
    UINT8,
    DType,
    PerAxis,
    PerGroup,
    QuantScheme,
    TensorQuant,
    fill_scheme,
    parse_dtype,
)

INTEGERS = (INT4, INT7, INT8, INT16, UINT8, DType("uint", 4), DType("int", 2))
EPS = float(np.finfo(np.float32).eps)

reals = st.floats(-1e6, 1e6, width=32)
dtypes = st.sampled_from(INTEGERS)


def ranges():
    return st.tuples(reals, reals).map(sorted)


def array(*values):
    return np.array(values, np.float32)


# Element types


@pytest.mark.parametrize(
    ("text", "dtype"),
    [("uint8", UINT8), ("int4", INT4), ("bfloat16", BFLOAT16), ("float8_e4m3", E4M3),
     ("float32", FLOAT32), ("int8_pairs", INT8_PAIRS)],
)  # fmt: skip
def test_an_element_type_is_written_and_read(text, dtype):
    assert parse_dtype(text) == dtype
    assert str(dtype) == text


@pytest.mark.parametrize(
    "text", ["", "int", "int9", "uint64", "float", "8", "e4m3", "float8", "int4_pairs"]
)
def test_what_is_no_element_type_is_refused(text):
    with pytest.raises(ValueError, match="element type"):
        parse_dtype(text)


@pytest.mark.parametrize(("kind", "bits"), [("int", 1), ("float", 8), ("bfloat", 32), ("bool", 8)])
def test_an_element_type_that_does_not_exist_cannot_be_built(kind, bits):
    with pytest.raises(ValueError, match="no element type"):
        DType(kind, bits)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [(INT4, -8, 7), (INT7, -64, 63), (INT8, -128, 127), (UINT8, 0, 255),
     (INT32, -(2**31), 2**31 - 1), (INT8_PAIRS, -127, 127)],
)  # fmt: skip
def test_codes_have_a_range(dtype, low, high):
    assert dtype.code_range == (low, high)


@pytest.mark.parametrize("dtype", [E4M3, BFLOAT16, FLOAT32])
def test_floats_have_no_range_of_codes(dtype):
    with pytest.raises(ValueError, match="no integer codes"):
        _ = dtype.code_range


@pytest.mark.parametrize(
    ("dtype", "storage"),
    [(INT4, "int8"), (INT7, "int8"), (INT16, "int16"), (UINT8, "uint8"), (E4M3, "uint8"),
     (E5M2, "uint8"), (BFLOAT16, "bfloat16"), (FLOAT16, "float16"), (FLOAT32, "float32")],
)  # fmt: skip
def test_codes_are_stored_in_what_numpy_has(dtype, storage):
    assert dtype.storage == storage
    assert str(np.dtype(storage)) == storage


# Schemes


def test_only_integers_have_zero_points():
    for dtype in (E4M3, INT8_PAIRS):
        with pytest.raises(ValueError, match="no zero point"):
            QuantScheme(dtype, symmetric=False)


def test_only_what_has_a_scale_has_a_granularity():
    with pytest.raises(ValueError, match="no scale"):
        QuantScheme(BFLOAT16, PerAxis(0))


def test_a_group_has_a_size():
    with pytest.raises(ValueError, match="at least one"):
        PerGroup(0, 0)


@pytest.mark.parametrize(
    ("scheme", "text"),
    [(QuantScheme(INT8, PerAxis(0)), "int8 per channel"),
     (QuantScheme(UINT8, symmetric=False), "uint8 asymmetric"),
     (QuantScheme(INT4, PerGroup(0, 32)), "int4 per group of 32"),
     (QuantScheme(BFLOAT16), "bfloat16")],
)  # fmt: skip
def test_a_scheme_is_written_in_words(scheme, text):
    assert str(scheme) == text


# Numbers


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_is_finite_and_positive(scale):
    with pytest.raises(ValueError, match="finite and positive"):
        TensorQuant(QuantScheme(INT8), array(scale)[0], np.int32(0))


@pytest.mark.parametrize(("dtype", "zero_point"), [(UINT8, -1), (UINT8, 256), (INT4, 8)])
def test_a_zero_point_is_a_code(dtype, zero_point):
    with pytest.raises(ValueError, match="zero point is a code"):
        TensorQuant(QuantScheme(dtype, symmetric=False), np.float32(1), np.int32(zero_point))


def test_floats_have_no_zero_point():
    with pytest.raises(ValueError, match="no zero point"):
        TensorQuant(QuantScheme(E4M3), np.float32(1), np.int32(1))


def test_one_scale_for_a_tensor_is_one_number():
    with pytest.raises(ValueError, match=r"shape \(\)"):
        TensorQuant(QuantScheme(INT8), array(1, 2), np.int32(0))


def test_scales_for_an_axis_are_a_list():
    with pytest.raises(ValueError, match="one dimension"):
        TensorQuant(QuantScheme(INT8, PerAxis(0)), np.ones((2, 2), np.float32), np.int32(0))


def test_numbers_cannot_be_changed():
    quant = fill_scheme(QuantScheme(INT8), array(-1)[0], array(1)[0])
    with pytest.raises(ValueError, match="read-only"):
        quant.scale[...] = 2
    with pytest.raises(FrozenInstanceError):
        quant.scheme = QuantScheme(UINT8)


def test_numbers_are_a_copy():
    scale = array(1, 2)
    quant = TensorQuant(QuantScheme(INT8, PerAxis(0)), scale, np.int32(0))
    scale[0] = 7
    assert quant.scale[0] == 1


@given(dtypes, ranges(), st.booleans())
def test_numbers_that_cover_a_range_are_sound(dtype, bounds, symmetric):
    quant = fill_scheme(QuantScheme(dtype, symmetric=symmetric), *array(*bounds))
    assert np.isfinite(quant.scale)
    assert quant.scale > 0
    low, high = dtype.code_range
    assert low <= quant.zero_point <= high


@given(dtypes, ranges(), st.booleans())
def test_zero_is_a_code(dtype, bounds, symmetric):
    quant = fill_scheme(QuantScheme(dtype, symmetric=symmetric), *array(*bounds))
    assert quant.decode(quant.encode(array(0.0)))[0] == 0.0


@given(dtypes, ranges(), st.booleans(), st.floats(0, 1, width=32))
def test_what_is_in_the_range_is_off_by_half_a_step(dtype, bounds, symmetric, where):
    low, high = array(*bounds)
    quant = fill_scheme(QuantScheme(dtype, symmetric=symmetric), low, high)
    real = np.clip(array(low + (high - low) * where), low, high)
    error = abs(float(quant.decode(quant.encode(real))[0]) - float(real[0]))
    # Half a step, and the rounding in float32 of x / s, of s itself (over all the codes: for 16
    # bits an eps is 2^-8 of a step) and of the product.
    slack = 4 * EPS * max(abs(float(low)), abs(float(high)), abs(float(real[0])))
    assert error <= 0.5 * float(quant.scale) + slack


@given(dtypes, ranges(), st.booleans())
def test_a_code_is_its_own_code(dtype, bounds, symmetric):
    quant = fill_scheme(QuantScheme(dtype, symmetric=symmetric), *array(*bounds))
    low, high = dtype.code_range
    codes = np.unique(np.linspace(low, high, 300).astype(dtype.storage))
    assert np.array_equal(quant.encode(quant.decode(codes)), codes)


@given(dtypes, ranges(), arrays(np.float32, 20, elements=reals))
def test_codes_keep_the_order(dtype, bounds, real):
    quant = fill_scheme(QuantScheme(dtype, symmetric=False), *array(*bounds))
    assert np.all(np.diff(quant.encode(np.sort(real)).astype(int)) >= 0)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_what_is_outside_of_the_range_saturates(dtype):
    quant = fill_scheme(QuantScheme(dtype, symmetric=False), *array(-1, 1))
    codes = quant.encode(array(-1e30, 1e30, -np.inf, np.inf)).astype(int)
    low, high = dtype.code_range
    assert list(codes) == [low, high, low, high]


@pytest.mark.parametrize("dtype", [*INTEGERS, E4M3, E5M2])
def test_what_is_beyond_float32_in_steps_saturates(dtype):
    quant = TensorQuant(QuantScheme(dtype), np.float32(1e-35), np.int32(0))
    near = quant.encode(array(-1e-25, 1e-25))
    assert np.array_equal(quant.encode(array(-1e30, 1e30)), near)


def test_ties_go_to_the_even_code():
    quant = TensorQuant(QuantScheme(INT8), np.float32(1), np.int32(0))
    assert list(quant.encode(array(0.5, 1.5, 2.5, -0.5, -1.5))) == [0, 2, 2, 0, -2]


@pytest.mark.parametrize("bounds", [(0, 0), (1e-45, 2e-45), (-1e-42, 0)])
@pytest.mark.parametrize("dtype", [UINT8, INT8, E4M3])
def test_a_range_of_nothing_gets_scale_one(dtype, bounds):
    quant = fill_scheme(QuantScheme(dtype), *array(*bounds))
    assert quant.scale == 1.0


def test_a_range_beside_zero_is_widened_to_it():
    quant = fill_scheme(QuantScheme(UINT8, symmetric=False), *array(5, 10))
    assert (float(quant.scale), int(quant.zero_point)) == (np.float32(10 / 255), 0)


def test_int32_codes_less_a_zero_point_do_not_wrap():
    low, high = INT32.code_range
    quant = TensorQuant(QuantScheme(INT32, symmetric=False), np.float32(1), np.int32(low))
    assert quant.decode(np.array([high]))[0] == np.float32(high - low)


# Granularities


def test_every_channel_has_its_scale():
    weight = np.array([[1.0, -2.0], [100.0, 50.0], [0.0, 0.0]], np.float32)
    quant = fill_scheme(QuantScheme(INT8, PerAxis(0)), weight.min(axis=1), weight.max(axis=1))
    assert np.array_equal(quant.scale, array(2 / 127, 100 / 127, 1))
    assert np.array_equal(quant.encode(weight), [[64, -127], [127, 64], [0, 0]])


@given(st.integers(-3, 2), st.integers(0, 2**16))
def test_channels_may_lie_on_any_axis(axis, seed):
    random = np.random.default_rng(seed)
    weight = random.normal(size=(3, 4, 5)).astype(np.float32)
    others = tuple(i for i in range(3) if i != axis % 3)
    quant = fill_scheme(QuantScheme(INT8, PerAxis(axis)), weight.min(others), weight.max(others))
    step = quant.scale.reshape([-1 if i == axis % 3 else 1 for i in range(3)])
    error = np.abs(quant.decode(quant.encode(weight)) - weight)
    assert np.all(error <= step * (0.5 + 127 * EPS))


@given(st.sampled_from([(0, 2), (0, 8), (1, 3), (-1, 6)]), st.integers(0, 2**16))
def test_every_group_has_its_scale(place, seed):
    axis, size = place
    weight = np.random.default_rng(seed).normal(size=(8, 6)).astype(np.float32)
    parts = np.split(weight, weight.shape[axis] // size, axis=axis)
    low = np.concatenate([part.min(axis=axis, keepdims=True) for part in parts], axis=axis)
    high = np.concatenate([part.max(axis=axis, keepdims=True) for part in parts], axis=axis)
    quant = fill_scheme(QuantScheme(INT4, PerGroup(axis, size)), low, high)
    assert quant.scale.shape == low.shape
    whole = quant.decode(quant.encode(weight))
    for number, part in enumerate(parts):
        alone = fill_scheme(
            QuantScheme(INT4, PerAxis(axis - 1)),
            np.take(low, number, axis), np.take(high, number, axis),
        )  # fmt: skip
        piece = np.split(whole, len(parts), axis=axis)[number]
        assert np.array_equal(piece, alone.decode(alone.encode(part)))


# Floats


@given(arrays(np.float32, 9, elements=st.floats(-(2.0**127), 2.0**127, width=32)))
def test_bfloat16_is_the_nearest_one(real):
    quant = fill_scheme(QuantScheme(BFLOAT16), array(-1)[0], array(1)[0])
    codes = quant.encode(real)
    assert codes.dtype == np.dtype(ml_dtypes.bfloat16)
    assert float(quant.scale) == 1.0
    error = np.abs(quant.decode(codes) - real)
    # Eight bits of significand: half a unit is 2^-8 of the binade, 2^-134 among denormals.
    assert np.all(error <= np.maximum(np.abs(real) * 2.0**-8, 2.0**-134))


@given(arrays(np.float32, 9, elements=st.floats(-240, 240, width=32)))
def test_8_bit_floats_are_off_by_a_sixteenth(real):
    quant = fill_scheme(QuantScheme(E4M3), array(-240)[0], array(240)[0])
    error = np.abs(quant.decode(quant.encode(real)) - real)
    # Four bits of significand: half a unit is 2^-4 of the value, 2^-10 steps among denormals;
    # dividing and multiplying by the scale rounds, too.
    bound = np.maximum(np.abs(real) * 2.0**-4, float(quant.scale) * 2.0**-10)
    assert np.all(error <= bound * (1 + 8 * EPS))


def test_8_bit_floats_have_scales_per_channel():
    weight = np.array([[448.0, 1.0], [896.0, 2.0]], np.float32)
    quant = fill_scheme(QuantScheme(E4M3, PerAxis(0)), weight.min(axis=1), weight.max(axis=1))
    assert np.array_equal(quant.scale, array(1, 2))
    assert np.array_equal(quant.decode(quant.encode(weight)), weight)
