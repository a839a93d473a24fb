"""Epilogues of every kind that fused kernels get, with operands for them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.float8 import KINDS
from tests.codegen.isa import random_tensor

ACTIVATIONS = {
    "none": (),
    "relu": (("relu", ()),),
    "relu6": (("clip", (0.0, 6.0)),),
    "hard limits": (("clip", (-1.5, 2.5)),),
    "gelu": (("gelu", ()),),
    "gelu_tanh": (("gelu_tanh", ()),),
    "silu": (("silu", ()),),
    "tanh": (("tanh", ()),),
    "sigmoid": (("sigmoid", ()),),
}


@dataclass(frozen=True)
class Recipe:
    """dequantize, bias, residual, activation and quantize, each of them or not.

    ``correction`` adds an integer a channel to the accumulator (a zero point's share);
    ``residual`` and ``output`` are dtypes; float32 output is not quantized.
    """

    correction: bool = False
    per_channel: bool = True
    residual: str | None = None
    activation: str = "none"
    output: str = "float32"
    zero_point: int = 0
    scale: float = 0.05

    def build(
        self, accumulator: np.ndarray, random: np.random.Generator
    ) -> tuple[Epilogue, list[np.ndarray]]:
        """The epilogue, and its operands, that bring ``accumulator`` into about -8..8."""
        chain = _Chain(str(accumulator.dtype))
        channels = accumulator.shape[-1]
        value, largest = 0, max(1.0, float(np.abs(accumulator).max()))
        if self.correction and accumulator.dtype == np.int32:
            correction = random.integers(-100, 100, channels).astype(np.int32)
            value = chain.step("add_int32", value, chain.operand(correction))
        if accumulator.dtype != np.float32:
            value = chain.step(_widening(str(accumulator.dtype)), value)
        factors = random.uniform(1, 8, channels if self.per_channel else 1) / largest
        value = chain.step("multiply", value, chain.operand(factors.astype(np.float32)))
        value = chain.step("add", value, chain.operand(random.normal(size=channels).astype("f4")))
        if self.residual is not None:
            value = self._add_residual(chain, value, accumulator.shape, random)
        for op, consts in ACTIVATIONS[self.activation]:
            value = chain.step(op, value, consts=consts)
        if self.output in KINDS:
            scaled = chain.step("multiply_const", value, consts=(1 / self.scale,))
            chain.step(f"encode_{self.output}", scaled)
        elif self.output != "float32":
            bounds = np.iinfo(self.output)
            consts = (self.scale, float(self.zero_point), float(bounds.min), float(bounds.max))
            value = chain.step(self.output, chain.step("quantize", value, consts=consts))
        return chain.finish(self.output)

    def _add_residual(
        self, chain: "_Chain", value: int, shape: tuple[int, ...], random: np.random.Generator
    ) -> int:
        residual = chain.operand(random_tensor(random, shape, self.residual))
        if self.residual != "float32":
            real = chain.step(_widening(self.residual), residual)
            residual = chain.step("add_const", real, consts=(-7.0,))
            residual = chain.step("multiply_const", residual, consts=(0.03,))
        return chain.step("add", value, residual)


def _widening(dtype: str) -> str:
    """The operation that gives float32 of ``dtype``."""
    return f"decode_{dtype}" if dtype in KINDS else "float"


class _Chain:
    """Steps and operands in the order in which they are asked for, numbered at the end."""

    def __init__(self, accumulator: str) -> None:
        self.accumulator = accumulator
        self.operands: list[np.ndarray] = []
        self.steps: list[tuple[str, tuple[int, ...], tuple[float, ...]]] = []

    def operand(self, value: np.ndarray) -> int:
        self.operands.append(value)
        return -len(self.operands)

    def step(self, op: str, *args: int, consts: tuple[float, ...] = ()) -> int:
        self.steps.append((op, args, consts))
        return len(self.steps)

    def finish(self, dtype: str) -> tuple[Epilogue, list[np.ndarray]]:
        def number(handle: int) -> int:
            return -handle if handle <= 0 else len(self.operands) + handle

        steps = tuple(Step(op, tuple(map(number, args)), consts) for op, args, consts in self.steps)
        operands = tuple(Operand(value.shape, str(value.dtype)) for value in self.operands)
        return Epilogue(self.accumulator, dtype, operands, steps), self.operands


# Those that are no polynomials: kernels with many kinds of tiles take seconds to build with others.
PLAIN = ("none", "relu", "relu6", "hard limits")


@st.composite
def recipes(draw: st.DrawFn, activations: Sequence[str] = tuple(ACTIVATIONS)) -> Recipe:
    output = draw(st.sampled_from(["float32", "uint8", "int8"]))
    bounds = np.iinfo(output) if output != "float32" else np.iinfo("uint8")
    zero_points = st.one_of(
        st.sampled_from([0, int(bounds.min), int(bounds.max)]),
        st.integers(int(bounds.min), int(bounds.max)),
    )
    return Recipe(
        correction=draw(st.booleans()),
        per_channel=draw(st.booleans()),
        residual=draw(st.sampled_from([None, "uint8", "int8", "float32"])),
        activation=draw(st.sampled_from(activations)),
        output=output,
        zero_point=draw(zero_points),
        # From everything saturated to everything in one code.
        scale=draw(st.sampled_from([0.001, 0.01, 0.03, 0.25, 20.0])),
    )


def fixed_point_epilogue(channels: int, zero_point: int = -3) -> Epilogue:
    """Bias, multiplier and shift a channel (int32 operands), and saturation to int8: what
    hago/lower/fixed_point.py makes of a requantization."""
    operands = (Operand((channels,), "int32"),) * 3
    steps = (
        Step("add_int32", (0, 1)),
        Step("sqrdmulh", (4, 2)),
        Step("srshl", (5, 3)),
        Step("saturate_int8", (6,), (float(zero_point), -128.0, 127.0)),
    )
    return Epilogue("int32", "int8", operands, steps)


def fixed_point_operands(channels: int, random: np.random.Generator) -> list[np.ndarray]:
    """Operands of :func:`fixed_point_epilogue` that bring sums of thousands to codes."""
    ranges = ((-1000, 1000), (2**30, 2**31 - 1), (-10, -3))
    return [random.integers(*bounds, channels).astype(np.int32) for bounds in ranges]
