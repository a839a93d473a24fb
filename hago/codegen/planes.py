"""Codes of 2 to 7 bits in as many bits of memory, cut into planes of 4, 2 and 1 bits.

A block holds ``8 * lanes`` codes in ``bits * lanes`` bytes. A plane of ``p`` bits has ``p * lanes``
bytes; its byte ``j * lanes + l`` holds the bits of the codes ``(j * 8 / p + i) * lanes + l`` for
``i`` from 0 on, the lowest bits first. So vectors of ``lanes`` codes come out by shifts and masks
alone. Codes are kept with an offset of ``2^(bits - 1)``, as unsigned numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hago.scheme import Array

Bytes = npt.NDArray[np.uint8]
WIDEST = 6  # bits; of 7 an eighth would be saved, at the price of unpacking
_PLANES = (4, 2, 1)


def planes(bits: int) -> tuple[int, ...]:
    """The widths whose sum is ``bits``, the lowest bits of a code first."""
    return tuple(width for width in _PLANES if bits & width)


def needed_bits(codes: Array) -> int:
    """The fewest bits, at least 2, that hold all of the integer ``codes`` in two's complement."""
    largest = max(int(codes.max()), -1 - int(codes.min()))
    return max(2, largest.bit_length() + 1)


def packed_bytes(count: int, bits: int, lanes: int) -> int:
    """Bytes of ``count`` codes, in whole blocks."""
    return -(-count // (8 * lanes)) * bits * lanes


def pack_codes(codes: Array, bits: int, lanes: int) -> Bytes:
    """The bytes ``[packed_bytes]`` of integer ``codes`` (any shape) that fit ``bits`` bits."""
    count, block = codes.size, 8 * lanes
    padded = np.zeros(-(-count // block) * block, np.int16)
    padded[:count] = codes.reshape(-1)
    rest = (padded + 2 ** (bits - 1)).astype(np.uint8).reshape(-1, 8, lanes)
    found = []
    for width in planes(bits):
        parts = (rest & (2**width - 1)).reshape(len(rest), width, 8 // width, lanes)
        shifts = (width * np.arange(8 // width, dtype=np.uint8))[:, None]
        found.append(np.bitwise_or.reduce(parts << shifts, axis=2))
        rest = rest >> width
    return np.concatenate(found, axis=1).reshape(-1)


def unpack_codes(packed: Bytes, bits: int, lanes: int, count: int) -> npt.NDArray[np.int8]:
    """The numpy meaning of the unpacking kernel: the first ``count`` codes of ``packed``."""
    blocks = packed.reshape(-1, bits, lanes)
    codes = np.zeros((len(blocks), 8, lanes), np.uint8)
    first, low = 0, 0
    for width in planes(bits):
        plane = blocks[:, first : first + width, None, :]
        shifts = (width * np.arange(8 // width, dtype=np.uint8))[:, None]
        parts = (plane >> shifts) & (2**width - 1)
        codes |= parts.reshape(codes.shape) << low
        first, low = first + width, low + width
    return (codes.astype(np.int16) - 2 ** (bits - 1)).astype(np.int8).reshape(-1)[:count]
