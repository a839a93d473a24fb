"""What a machine can do, as frozen data: one row an operator and combination of element types."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import Literal

from hago.scheme import DType, Granularity, PerAxis, PerGroup, PerTensor

GranularityName = Literal["tensor", "channel", "group"]
Requantize = Literal["float32", "fixed_point", "shift"]

# The operators a row can be about. A spec names the computation, not the graph's spelling of it.
OPERATORS: dict[str, str] = {
    "conv2d": "convolution of an activation with constant weights, dense or grouped",
    "depthwise_conv2d": "convolution with one input channel a group",
    "matmul": "product of an activation [.., M, K] with constant weights [K, N]",
    "batch_matmul": "product of two activations [.., M, K] x [.., K, N]",
    "add": "elementwise sum (and difference) of two activations",
    "multiply": "elementwise product of two activations",
    "max_pool2d": "maximum over a window",
    "avg_pool2d": "mean over a window or over all of an image",
    "concat": "joining tensors along an axis",
    "resize2d": "resampling of an image",
    "table": "any function of one 8-bit operand, by a 256-entry table",
    "move": "reshape, transpose, slice, split, pad: elements keep their codes",
    "embedding": "rows of a constant table",
}
# Those whose results have the codes of their operands.
PASSING = frozenset({"move", "max_pool2d", "concat", "resize2d"})

_LETTERS = {"uint": "u", "int": "s", "float": "f", "bfloat": "bf"}


def word_of(dtype: DType) -> str:
    """``dtype`` as a specification writes it: u8, s8.paired, bf16, e4m3."""
    letter = _LETTERS.get(dtype.kind)
    if not letter:
        return dtype.kind.removeprefix("float8_")
    return f"{letter}{dtype.bits}{'.paired' if dtype.paired else ''}"


@dataclass(frozen=True, order=True)
class Origin:
    """File and line of a row, for messages."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Operand:
    """What one operand of an instruction may be.

    ``storage`` is the dtype the operand is kept in when that is narrower than what is computed
    (Gaudi keeps int4 weights and computes in fp8).
    """

    dtype: DType
    granularity: tuple[GranularityName, ...] = ("tensor",)
    zero_point: bool = False
    storage: DType | None = None

    def __post_init__(self) -> None:
        if self.zero_point and not self.dtype.is_integer:
            raise ValueError(f"{self.dtype} has no zero point")

    def allows(self, granularity: Granularity) -> bool:
        names = {PerTensor: "tensor", PerAxis: "channel", PerGroup: "group"}
        return names[type(granularity)] in self.granularity


@dataclass(frozen=True)
class Accumulator:
    """Where products are summed.

    ``terms`` products meet in ``dtype`` before they are widened exactly to int32: 0 means that
    all of them do (a plain int32 accumulator), 2 is AVX2's vpmaddubsw, whose pairs meet in a
    *saturating* int16.
    """

    dtype: DType
    saturates: bool = False
    terms: int = 0


@dataclass(frozen=True)
class Alignment:
    """Multiples that the reduction (k), the output channels (n) and the rows (m) are padded to."""

    k: int = 1
    n: int = 1
    m: int = 1

    def __post_init__(self) -> None:
        if min(self.k, self.n, self.m) < 1:
            raise ValueError("an alignment is at least 1")


@dataclass(frozen=True)
class OpSupport:
    """One way of computing ``op``: operand types, accumulator, and how the result leaves."""

    op: str
    inputs: tuple[Operand, ...]
    output: tuple[DType, ...]
    accum: Accumulator
    requantize: Requantize = "float32"
    alignment: Alignment = Alignment()
    intrinsic: str = ""
    throughput: float = 0.0  # operations per cycle and core (one multiply-add is two)
    origin: Origin = field(default=Origin("<memory>", 0), compare=False)

    def __str__(self) -> str:
        inputs = ", ".join(str(operand.dtype) for operand in self.inputs)
        outputs = " | ".join(map(str, self.output))
        return f"{self.op}({inputs}) -> {self.accum.dtype} -> {outputs}"


@dataclass(frozen=True)
class Memory:
    """Sizes in bytes, bandwidth in bytes a cycle and core: facts for the cost model."""

    l1: int
    l2: int
    l3: int = 0
    bandwidth: float = 0.0


@dataclass(frozen=True)
class HardwareSpec:
    """A machine: TVM's target for it, what it computes, and what its memory is like.

    ``features`` are the CPU features (in /proc/cpuinfo's words) without which an artifact is
    refused. Where ``is_model``, hago has no kernels for the machine itself: this computer's run
    what it would compute, as an executable model of it.
    """

    name: str
    target: dict[str, object]
    ops: tuple[OpSupport, ...]
    memory: Memory
    features: tuple[str, ...] = ()
    description: str = ""
    is_model: bool = False

    @property
    def triple(self) -> str:
        """The LLVM triple of the machine's code; empty where it is this computer's."""
        return str(self.target.get("mtriple", ""))

    @property
    def is_gpu(self) -> bool:
        """Whether kernels run on an NVIDIA GPU, launched from this computer's CPU."""
        return self.target.get("kind") == "cuda"

    @property
    def architecture(self) -> str:
        """The processor family of the machine's code, as ``uname -m`` says it."""
        return self.triple.partition("-")[0] or platform.machine()

    def rows(self, op: str) -> tuple[OpSupport, ...]:
        """The rows for ``op``, in the file's order: the first is preferred."""
        return tuple(row for row in self.ops if row.op == op)


def multiplies(spec: HardwareSpec, dtype: DType) -> bool:
    """Whether ``spec`` has products of ``dtype``."""
    products = ("conv2d", "matmul", "batch_matmul")
    return any(row.inputs[0].dtype == dtype for op in products for row in spec.rows(op))
