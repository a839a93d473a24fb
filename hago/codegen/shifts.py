"""Codes of each channel less a number of its own: those of a window anywhere fit its few bits.

    codes[o, r, l, d] = shifts[o, l] + (what is stored)[o, r, l, d]        for channel (o, l)

A packed weight has vectors of ``lanes`` channels by ``depth`` inputs; ``repeat`` vectors follow
each other that have the same channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hago.codegen.planes import needed_bits
from hago.scheme import Array


@dataclass(frozen=True, eq=False)
class Shifted:
    """``codes`` (the weight's shape) that need ``bits`` bits, and the ``shifts`` (int8,
    [outer, lanes]) that were taken from them; ``repeat`` is 0 where there are none."""

    codes: Array
    shifts: Array
    bits: int
    repeat: int


def unshifted(codes: Array) -> Shifted:
    """``codes`` in the bits that they need by themselves."""
    return Shifted(codes, np.zeros(0, np.int8), needed_bits(codes), 0)


def shift_channels(codes: Array, leading: int, vector_bytes: int) -> Shifted | None:
    """``codes`` [.., lanes, depth], whose first ``leading`` axes count channels, too.

    None where shifts save no bits, or where its vectors are not those of the machine.
    """
    lanes, depth = codes.shape[-2:]
    if codes.dtype != np.int8 or lanes * depth != vector_bytes:
        return None
    outer = math.prod(codes.shape[:leading])
    parts = codes.reshape(outer, -1, lanes, depth).astype(np.int16)
    low, high = parts.min(axis=(1, 3)), parts.max(axis=(1, 3))
    bits = max(2, int((high - low).max()).bit_length())
    if bits >= needed_bits(codes):
        return None
    shifts = low + 2 ** (bits - 1)
    less = (parts - shifts[:, None, :, None]).astype(np.int8).reshape(codes.shape)
    return Shifted(less, shifts.astype(np.int8), bits, parts.shape[1])
