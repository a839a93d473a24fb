"""The words of quantization: element types, granularities, schemes, and their numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from hago.float8 import FORMATS, decode_float8, encode_float8, round_float8
from hago.pairs import within_pairs

Kind = Literal["int", "uint", "float", "bfloat", "float8_e4m3", "float8_e5m2"]
Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

_PAIRS = "_pairs"  # what the names of paired types end in

BFLOAT16_ARRAY = np.dtype(ml_dtypes.bfloat16)  # numpy knows the name once this is imported

_BITS: dict[str, tuple[int, ...]] = {
    "int": (2, 3, 4, 5, 6, 7, 8, 16, 32),
    "uint": (2, 3, 4, 5, 6, 7, 8, 16),
    "float": (16, 32),
    "bfloat": (16,),
    "float8_e4m3": (8,),
    "float8_e5m2": (8,),
}


@dataclass(frozen=True, order=True)
class DType:
    """An element type by kind and width in bits, e.g. ``DType("uint", 8)``.

    Integers narrower than their container (``int7``) use the container's storage and a smaller
    range of codes. Weights of int8 that are ``paired`` (``int8_pairs``) are within the bound of
    :mod:`hago.pairs` with their neighbours.
    """

    kind: Kind
    bits: int
    paired: bool = False

    def __post_init__(self) -> None:
        if self.bits not in _BITS.get(self.kind, ()):
            raise ValueError(f"no element type {self.kind!r} of {self.bits} bits")
        if self.paired and (self.kind, self.bits) != ("int", 8):
            raise ValueError(f"no element type of pairs of {self.kind!r} of {self.bits} bits")

    def __str__(self) -> str:
        if self.kind.startswith("float8"):
            return self.kind
        return f"{self.kind}{self.bits}{_PAIRS if self.paired else ''}"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def is_quantized(self) -> bool:
        """True where values are stored as codes that need a scale."""
        return self.is_integer or self.kind.startswith("float8")

    @property
    def code_range(self) -> tuple[int, int]:
        """Smallest and largest integer code."""
        if not self.is_integer:
            raise ValueError(f"{self} has no integer codes")
        if self.kind == "uint":
            return 0, 2**self.bits - 1
        if self.paired:
            return 1 - 2 ** (self.bits - 1), 2 ** (self.bits - 1) - 1
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1

    @property
    def storage(self) -> str:
        """The numpy/TVM dtype that holds one code: ``int7`` is stored as ``int8``."""
        if self.kind.startswith("float8"):
            return "uint8"
        if not self.is_integer:
            return "bfloat16" if self.kind == "bfloat" else str(self)
        width = next(w for w in (8, 16, 32) if w >= self.bits)
        return f"{self.kind}{width}"


def parse_dtype(text: str) -> DType:
    """Read ``"uint8"``, ``"bfloat16"``, ``"float8_e4m3"``. Raises ValueError on anything else."""
    if text in ("float8_e4m3", "float8_e5m2"):
        return DType(text, 8)  # type: ignore[arg-type]
    if text.endswith(_PAIRS):
        return replace(parse_dtype(text.removesuffix(_PAIRS)), paired=True)
    kind = text.rstrip("0123456789")
    digits = text[len(kind) :]
    if kind not in _BITS or not digits:
        raise ValueError(f"{text!r} is not an element type")
    return DType(kind, int(digits))  # type: ignore[arg-type]


INT4, INT7, INT8, INT16, INT32 = (DType("int", bits) for bits in (4, 7, 8, 16, 32))
INT8_PAIRS = DType("int", 8, paired=True)
UINT8 = DType("uint", 8)
FLOAT16, FLOAT32, BFLOAT16 = DType("float", 16), DType("float", 32), DType("bfloat", 16)
E4M3, E5M2 = DType("float8_e4m3", 8), DType("float8_e5m2", 8)


@dataclass(frozen=True)
class PerTensor:
    """One scale for the whole tensor."""


@dataclass(frozen=True)
class PerAxis:
    """One scale for each index of ``axis`` (per-channel)."""

    axis: int


@dataclass(frozen=True)
class PerGroup:
    """One scale for each run of ``size`` consecutive indices of ``axis``."""

    axis: int
    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a group holds at least one element, not {self.size}")


Granularity = PerTensor | PerAxis | PerGroup


@dataclass(frozen=True)
class QuantScheme:
    """How a tensor is represented, without the numbers: dtype, granularity, symmetry.

    ``symmetric`` fixes the zero point: 0 for signed codes, the middle for unsigned ones. Where
    ``computed_in`` is an 8-bit float, integer codes are only stored: what they stand for is rounded
    to that type, times one power of two for the whole tensor, before it is multiplied.
    """

    dtype: DType
    granularity: Granularity = PerTensor()
    symmetric: bool = True
    computed_in: DType | None = None

    def __post_init__(self) -> None:
        if not self.symmetric and (self.dtype.paired or not self.dtype.is_integer):
            raise ValueError(f"{self.dtype} has no zero point: it is symmetric")
        if not self.dtype.is_quantized and self.granularity != PerTensor():
            raise ValueError(f"{self.dtype} has no scale: it has no granularity")
        if self.computed_in is not None and not (
            self.computed_in.kind in FORMATS and self.dtype.is_integer and self.symmetric
        ):
            raise ValueError(f"{self.dtype} codes are not computed in {self.computed_in}")

    def __str__(self) -> str:
        match self.granularity:
            case PerTensor():
                where = ""
            case PerAxis():
                where = " per channel"
            case PerGroup(size=size):
                where = f" per group of {size}"
        computed = f" for {self.computed_in}" if self.computed_in else ""
        return f"{self.dtype}{where}{'' if self.symmetric else ' asymmetric'}{computed}"

    @property
    def is_quantized(self) -> bool:
        return self.dtype.is_quantized


@dataclass(frozen=True, eq=False)
class TensorQuant:
    """A scheme with its numbers: ``real = scale * (code - zero_point)``.

    ``scale`` is float32 and ``zero_point`` int32, shape ``()`` per tensor, ``(n,)`` per axis
    (and ``shape`` with the axis divided by the group size per group).
    """

    scheme: QuantScheme
    scale: Floats
    zero_point: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        scale = np.array(self.scale, dtype=np.float32)
        zero_point = np.array(self.zero_point, dtype=np.int32)
        if not np.all(np.isfinite(scale)) or not np.all(scale > 0):
            raise ValueError("a scale is finite and positive")
        if isinstance(self.scheme.granularity, PerTensor) and scale.shape != ():
            raise ValueError(f"a per-tensor scale has shape (), not {scale.shape}")
        if isinstance(self.scheme.granularity, PerAxis) and scale.ndim != 1:
            raise ValueError(f"a per-axis scale has one dimension, not {scale.shape}")
        zero_point = np.broadcast_to(zero_point, scale.shape).copy()
        self._check_zero_point(zero_point)
        for name, value in (("scale", scale), ("zero_point", zero_point)):
            value.flags.writeable = False
            object.__setattr__(self, name, value)

    def _check_zero_point(self, zero_point: npt.NDArray[np.int32]) -> None:
        if not self.scheme.dtype.is_integer:
            if np.any(zero_point):
                raise ValueError(f"{self.scheme.dtype} has no zero point")
            return
        low, high = self.scheme.dtype.code_range
        if np.any(zero_point < low) or np.any(zero_point > high):
            raise ValueError(f"a zero point is a code of {self.scheme.dtype}: {low} to {high}")

    def encode(self, real: Floats) -> Array:
        """Codes of ``real``: divided by the scale, rounded half to even, shifted, saturated.

        Floats of 16 and 32 bits have no scale: their codes are the rounded values themselves.
        """
        if not self.scheme.is_quantized:
            return real.astype(self.scheme.dtype.storage)
        scale, zero_point = self.spread(real.shape)
        with np.errstate(over="ignore"):  # what is beyond float32 saturates as well
            steps = real / scale
        if not self.scheme.dtype.is_integer:
            return encode_float8(steps, self.scheme.dtype.kind)
        low, high = self.scheme.dtype.code_range
        codes = np.rint(steps).astype(np.float64) + zero_point
        stored = np.clip(codes, low, high).astype(self.scheme.dtype.storage)
        return within_pairs(stored) if self.scheme.dtype.paired else stored

    def decode(self, codes: Array) -> Floats:
        """The float32 values that ``codes`` stand for."""
        if not self.scheme.is_quantized:
            return codes.astype(np.float32)
        scale, zero_point = self.spread(codes.shape)
        if not self.scheme.dtype.is_integer:
            return (decode_float8(codes, self.scheme.dtype.kind) * scale).astype(np.float32)
        if self.scheme.computed_in is not None:
            common = self.common_scale
            values = round_float8(codes * (scale / common), self.scheme.computed_in.kind)
            return (values * common).astype(np.float32)
        difference = codes.astype(np.int64) - zero_point  # of int32 codes it needs 33 bits
        return (difference.astype(np.float32) * scale).astype(np.float32)

    @property
    def common_scale(self) -> np.float32:
        """The least power of two with which no code overflows the 8-bit float it is computed in."""
        assert self.scheme.computed_in is not None
        largest = float(np.max(self.scale)) * -self.scheme.dtype.code_range[0]
        exponent = np.ceil(np.log2(largest / FORMATS[self.scheme.computed_in.kind].largest))
        return np.float32(2.0**exponent)

    def spread(self, shape: tuple[int, ...]) -> tuple[Floats, npt.NDArray[np.int32]]:
        """Scale and zero point, broadcastable to a tensor of ``shape``."""
        granularity = self.scheme.granularity
        if isinstance(granularity, PerTensor):
            return self.scale, self.zero_point
        axis = granularity.axis % len(shape)
        if isinstance(granularity, PerAxis):
            wide = tuple(-1 if i == axis else 1 for i in range(len(shape)))
            return self.scale.reshape(wide), self.zero_point.reshape(wide)
        size = granularity.size
        return (
            np.repeat(self.scale, size, axis=axis),
            np.repeat(self.zero_point, size, axis=axis),
        )


def fill_scheme(scheme: QuantScheme, low: Array, high: Array) -> TensorQuant:
    """The numbers of ``scheme`` that cover the real range ``[low, high]`` (both float, one shape).

    The range is widened to contain zero, so that zero is a code (padding is exact). A degenerate
    range gets scale 1. Signed symmetric integers use codes ``-max..max``.
    """
    if not scheme.is_quantized:
        return plain_float(scheme)
    low = np.minimum(np.asarray(low, np.float64), 0.0)
    high = np.maximum(np.asarray(high, np.float64), 0.0)
    largest = np.maximum(-low, high)
    if not scheme.dtype.is_integer:
        scale = _positive(largest / FORMATS[scheme.dtype.kind].largest)
        return TensorQuant(scheme, scale, np.zeros(scale.shape, np.int32))
    first, last = scheme.dtype.code_range
    if scheme.symmetric:
        middle = 0 if scheme.dtype.kind == "int" else (first + last + 1) // 2
        scale = _positive(largest / (last - middle))
        return TensorQuant(scheme, scale, np.full(scale.shape, middle, np.int32))
    scale = _positive((high - low) / (last - first))
    zero_point = np.clip(np.rint(first - low / scale), first, last).astype(np.int32)
    return TensorQuant(scheme, scale, zero_point)


def plain_float(scheme: QuantScheme) -> TensorQuant:
    """The numbers of a scheme without codes (bfloat16, float16): scale 1."""
    return TensorQuant(scheme, np.asarray(1, np.float32), np.asarray(0, np.int32))


def _positive(scale: npt.NDArray[np.float64]) -> Floats:
    """Scale 1 where the range is empty or too small for a normal float32."""
    smallest = float(np.finfo(np.float32).tiny)
    return np.where(scale > smallest, scale, 1.0).astype(np.float32)
