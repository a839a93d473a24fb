"""Small prepared modules for tests, and a machine to annotate them with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tvm import ir, relax

from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.graph import QuantGraph, QuantModel
from hago.hardware.spec import Accumulator, HardwareSpec, Memory, Operand, OpSupport, Origin
from hago.methods.assign import assign_numbers
from hago.realize.interpret import evaluate
from hago.scheme import FLOAT32, INT8, INT32, UINT8, QuantScheme

LAYOUT = {"data_layout": "NHWC", "kernel_layout": "OHWI"}
U8, S8, S8_CHANNEL = Operand(UINT8, zero_point=True), Operand(INT8), Operand(INT8, ("channel",))


def row(op: str, *inputs: Operand, line: int = 1) -> OpSupport:
    """An 8-bit row with an int32 accumulator and float requantization."""
    origin = Origin("machine.py", line)
    outputs = (UINT8, INT8, FLOAT32)
    return OpSupport(op, inputs, outputs, Accumulator(INT32), intrinsic="dot", origin=origin)


def machine(**changes: object) -> HardwareSpec:
    """A machine with u8 x s8 products and every 8-bit operator."""
    rows = (
        row("conv2d", U8, S8_CHANNEL, line=1),
        row("depthwise_conv2d", U8, S8_CHANNEL, line=2),
        row("matmul", U8, S8_CHANNEL, line=3),
        row("batch_matmul", U8, S8, line=4),
        row("add", U8, U8, line=5),
        row("multiply", U8, U8, line=6),
        *(row(op, U8, line=7) for op in ("max_pool2d", "avg_pool2d", "concat", "move", "table")),
    )
    return replace(HardwareSpec("toy", {"kind": "llvm"}, rows, Memory(1, 1)), **changes)


class Builder:
    """Emits named operations into one dataflow function; weights are seeded."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.input = relax.Var("x", relax.TensorType(shape, "float32"))
        self.calls: list[tuple[str, object]] = []
        self.builder = relax.BlockBuilder()
        self.scope = self.builder.function("main", [self.input])
        self.scope.__enter__()
        self.block = self.builder.dataflow()
        self.block.__enter__()

    def const(self, *shape: int) -> relax.Expr:
        return relax.const(self.random.normal(size=shape).astype("float32"))

    def emit(self, name: str, expr: relax.Expr) -> relax.Expr:
        return self.builder.emit(expr, name_hint=name)

    def conv(
        self, name: str, data: relax.Expr, out: int, kernel: int = 3, **attrs: object
    ) -> relax.Expr:
        channels = int(data.ty.shape[-1]) // int(attrs.get("groups", 1))
        weight = self.const(out, kernel, kernel, channels)
        return self.emit(name, relax.op.nn.conv2d(data, weight, **LAYOUT, **attrs))

    def dense(self, name: str, data: relax.Expr, out: int) -> relax.Expr:
        return self.emit(name, relax.op.matmul(data, self.const(int(data.ty.shape[-1]), out)))

    def attend(self, scores: relax.Expr, values: relax.Expr) -> relax.Expr:
        """The softmax of ``scores`` times ``values`` as prepared modules have it: "powers", their
        "product" with the values, and that divided by the "total" of the powers, "mixed"."""
        largest = self.emit("largest", relax.op.max(scores, axis=[-1], keepdims=True))
        shifted = self.emit("shifted", relax.op.subtract(scores, largest))
        powers = self.emit("powers", relax.op.exp(shifted))
        total = self.emit("total", relax.op.sum(powers, axis=[-1], keepdims=True))
        factor = self.emit("factor", relax.op.divide(relax.const(np.float32(1)), total))
        product = self.emit("product", relax.op.matmul(powers, values))
        return self.emit("mixed", relax.op.multiply(product, factor))

    def done(self, *results: relax.Expr) -> ir.IRModule:
        outputs = [
            self.builder.emit_output(relax.op.multiply(r, relax.const(1.0)), name_hint="result")
            for r in results
        ]
        self.block.__exit__(None, None, None)
        self.builder.emit_func_output(outputs[0] if len(outputs) == 1 else relax.Tuple(outputs))
        self.scope.__exit__(None, None, None)
        return self.builder.get()


def residual_network(seed: int = 0) -> ir.IRModule:
    """Convolutions (dense and depthwise), hard-swish, a residual add, concat, mean, dense."""
    b = Builder(1, 8, 8, 4, seed=seed)
    first = b.emit("relu", relax.op.nn.relu(b.emit("add", relax.op.add(
        b.conv("conv2d", b.input, 8, padding=1), b.const(8)))))  # fmt: skip
    deep = b.emit("add_1", relax.op.add(
        b.conv("conv2d_1", first, 8, padding=1, groups=8), b.const(8)))  # fmt: skip
    gate = b.emit("clip", relax.op.clip(
        b.emit("add_2", relax.op.add(deep, relax.const(np.float32(3)))), 0, 6))  # fmt: skip
    deep = b.emit("multiply", relax.op.multiply(deep, gate))
    joined = b.emit("add_3", relax.op.add(first, deep))
    both = b.emit("concat", relax.op.concat([first, joined], axis=3))
    mean = b.emit("mean", relax.op.mean(b.conv("conv2d_2", both, 6, kernel=1), [1, 2]))
    return b.done(b.dense("matmul", mean, 5))


def attention(seed: int = 0) -> ir.IRModule:
    """A single attention head over [1, 16, 8] with a dense layer before and after."""
    b = Builder(1, 16, 8, seed=seed)
    heads = [b.dense(name, b.input, 8) for name in ("query", "key", "value")]
    key = b.emit("permute", relax.op.permute_dims(heads[1], (0, 2, 1)))
    scores = b.emit("scores", relax.op.matmul(heads[0], key))
    return b.done(b.dense("out", b.attend(scores, heads[2]), 8))


def diffusion_block(seed: int = 0) -> ir.IRModule:
    """Twice a group norm, a SiLU and a convolution, and a residual add."""
    b = Builder(1, 6, 6, 8, seed=seed)
    x = b.input
    for number, groups in enumerate((4, 8)):
        norm = b.emit(f"norm_{number}", relax.op.nn.group_norm(
            x, b.const(8), b.const(8), groups, channel_axis=3, axes=[1, 2]))  # fmt: skip
        x = b.conv(f"conv2d_{number}", b.emit(f"silu_{number}", relax.op.nn.silu(norm)), 8,
                   padding=1)  # fmt: skip
    return b.done(b.emit("add", relax.op.add(b.input, x)))


def input_for(module: ir.IRModule, seed: int = 1) -> dict[str, np.ndarray]:
    """Normal values for the one parameter of ``module``."""
    shape = [int(extent) for extent in module["main"].params[0].ty.shape]
    return {"x": np.random.default_rng(seed).normal(size=shape).astype("float32")}


def all_values(module: ir.IRModule, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every intermediate value, by binding name."""
    values = dict(inputs)
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            values[str(binding.var.name)] = evaluate(binding.value, values)
    return values


def quantized(
    module: ir.IRModule, spec: HardwareSpec, inputs: dict[str, np.ndarray]
) -> QuantModel:
    """The int8 model of ``module`` on ``spec``, ranges taken from ``inputs``."""
    graph: QuantGraph = annotate(module, spec)
    values = all_values(module, inputs)

    def range_of(src: str, _: QuantScheme) -> tuple[float, float]:
        return float(values[src].min()), float(values[src].max())

    return assign_numbers(graph, choose_strategy(graph, "int8"), range_of, constant_edges(graph))
