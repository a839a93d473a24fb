"""Eight-bit floats, held against the definition of OFP8 and against another implementation."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hago.float8 import FORMATS, decode_float8, encode_float8

KINDS = tuple(FORMATS)
OTHERS = {"float8_e4m3": ml_dtypes.float8_e4m3fn, "float8_e5m2": ml_dtypes.float8_e5m2}
CODES = np.arange(256, dtype=np.uint8)


def finite(kind):
    """The codes that are numbers."""
    return CODES[np.isfinite(decode_float8(CODES, kind))]


@pytest.mark.parametrize("kind", KINDS)
def test_every_code_is_read_as_another_implementation_reads_it(kind):
    theirs = CODES.view(OTHERS[kind]).astype(np.float32)
    assert np.array_equal(decode_float8(CODES, kind), theirs, equal_nan=True)


@pytest.mark.parametrize(
    ("kind", "code", "value"),
    [  # OFP8, tables 1 and 2
        ("float8_e4m3", 0x00, 0.0), ("float8_e4m3", 0x01, 2.0**-9),
        ("float8_e4m3", 0x07, 0.875 * 2.0**-6), ("float8_e4m3", 0x08, 2.0**-6),
        ("float8_e4m3", 0x7E, 448.0), ("float8_e4m3", 0xFE, -448.0),
        ("float8_e5m2", 0x00, 0.0), ("float8_e5m2", 0x01, 2.0**-16),
        ("float8_e5m2", 0x03, 0.75 * 2.0**-14), ("float8_e5m2", 0x04, 2.0**-14),
        ("float8_e5m2", 0x7B, 57344.0), ("float8_e5m2", 0x7C, np.inf),
        ("float8_e5m2", 0xFC, -np.inf),
    ],
)  # fmt: skip
def test_the_specification_names_these_codes(kind, code, value):
    assert decode_float8(np.array([code], np.uint8), kind)[0] == value


@pytest.mark.parametrize(
    ("kind", "codes"),
    [("float8_e4m3", [0x7F, 0xFF]), ("float8_e5m2", [0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF])],
)
def test_these_codes_are_no_numbers(kind, codes):
    values = decode_float8(CODES, kind)
    assert list(CODES[np.isnan(values)]) == codes


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_is_its_own_code(kind):
    codes = finite(kind)
    assert np.array_equal(encode_float8(decode_float8(codes, kind), kind), codes)


@pytest.mark.parametrize("kind", KINDS)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_the_nearest_code_is_taken_and_the_even_one_of_two(kind, values):
    largest = FORMATS[kind].largest
    real = np.array([v for v in values if abs(v) <= largest] or [0.0], np.float32)
    theirs = real.astype(OTHERS[kind]).view(np.uint8)
    assert np.array_equal(encode_float8(real, kind), theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_halfway_between_two_codes_is_the_even_one(kind):
    codes = finite(kind)[: FORMATS[kind].nan]
    codes = codes[codes < 0x80]
    values = decode_float8(codes, kind).astype(np.float64)
    middles = ((values[:-1] + values[1:]) / 2).astype(np.float32)
    even = np.where(codes[:-1] % 2 == 0, codes[:-1], codes[1:])
    assert np.array_equal(encode_float8(middles, kind), even)
    assert np.array_equal(encode_float8(-middles, kind), even | 0x80)
    above = np.nextafter(middles, np.float32(np.inf))
    assert np.array_equal(encode_float8(above, kind), codes[1:])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [1.0001, 2.0, 1e30, np.inf])
def test_what_is_too_large_saturates(kind, value):
    largest = FORMATS[kind].largest
    real = np.array([value, -value], np.float32) * np.float32(largest)
    assert list(decode_float8(encode_float8(real, kind), kind)) == [largest, -largest]


@pytest.mark.parametrize("kind", KINDS)
def test_nan_stays_nan_and_keeps_its_sign(kind):
    codes = encode_float8(np.array([np.nan, -np.nan], np.float32), kind)
    assert np.isnan(decode_float8(codes, kind)).all()
    assert list(codes & 0x80) == [0, 0x80]


@pytest.mark.parametrize("kind", KINDS)
def test_zero_keeps_its_sign(kind):
    assert list(encode_float8(np.array([0.0, -0.0], np.float32), kind)) == [0x00, 0x80]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_too_small_becomes_zero(kind):
    smallest = float(decode_float8(np.array([1], np.uint8), kind)[0])
    half = np.float32(smallest / 2)
    real = np.array([half, np.nextafter(half, np.float32(1))], np.float32)
    assert list(encode_float8(real, kind)) == [0, 1]


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
def test_any_shape_is_kept(shape):
    real = np.ones(shape, np.float32)
    codes = encode_float8(real, "float8_e4m3")
    assert (codes.shape, codes.dtype) == (shape, np.uint8)
    assert np.array_equal(decode_float8(codes, "float8_e4m3"), real)
