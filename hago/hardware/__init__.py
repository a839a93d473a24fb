"""Hardware specifications: what a machine computes, and the words to say it in."""

from hago.hardware.shared import rows_of
from hago.hardware.words import (
    bf16,
    e4m3,
    e5m2,
    f16,
    f32,
    machine,
    memory,
    op,
    s4,
    s7,
    s8,
    s16,
    s32,
    saturating,
    u4,
    u8,
)

__all__ = [
    "bf16", "e4m3", "e5m2", "f16", "f32", "machine", "memory", "op", "rows_of", "s4", "s7",
    "s8", "s16", "s32", "saturating", "u4", "u8",
]  # fmt: skip
