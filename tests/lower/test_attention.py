"""An attention's scores stay inside one kernel, unless somebody else reads them."""

import numpy as np
import pytest
import tvm
from tvm import relax

from hago.codegen.workload import Attention
from hago.hardware.host import missing_features
from hago.hardware.load import load_spec
from hago.lower import lower as lowering
from hago.lower.build import build
from hago.realize import realize
from tests.graphs import Builder, input_for, quantized
from tests.lower.test_in_place import heads_of

HEADS, ROWS, WIDTH = 3, 24, 16
AVX2 = load_spec("x86-avx2")


def attention(read="", masked=False):
    """Heads over [1, 24, 48]; ``read`` names a value inside of them that is a result, too."""
    b, inside = Builder(1, ROWS, HEADS * WIDTH), {}

    def emit(name, expr):
        inside[name] = b.emit(name, expr)
        return inside[name]

    query, key, value = (heads_of(b, name, axes) for name, axes in (
        ("query", (0, 2, 1, 3)), ("key", (0, 2, 3, 1)), ("value", (0, 2, 1, 3))))  # fmt: skip
    scores = emit("scores", relax.op.multiply(
        b.emit("product", relax.op.matmul(query, key)), relax.const(np.float32(0.05))))  # fmt: skip
    if masked:
        scores = emit("masked", relax.op.add(scores, b.const(1, 1, 1, ROWS)))
    largest = b.emit("largest", relax.op.max(scores, axis=[-1], keepdims=True))
    powers = emit("powers", relax.op.exp(b.emit("shifted", relax.op.subtract(scores, largest))))
    total = b.emit("total", relax.op.sum(powers, axis=[-1], keepdims=True))
    factor = emit("factor", relax.op.divide(relax.const(np.float32(1)), total))
    mixed = b.emit("mixed", relax.op.multiply(
        b.emit("sums", relax.op.matmul(powers, value)), factor))  # fmt: skip
    rows = b.emit("rows", relax.op.permute_dims(mixed, (0, 2, 1, 3)))
    flat = b.emit("flat", relax.op.reshape(rows, (1, ROWS, HEADS * WIDTH)))
    return b.done(b.dense("out", flat, 8), *([inside[read]] if read else []))


def lowered(module, spec):
    return lowering.lower_with_weights(module, spec, ())


def attentions(module, spec=AVX2):
    return [each for each in lowered(module, spec).calls if isinstance(each.workload, Attention)]


def in_codes(module, spec=AVX2):
    return realize(quantized(module, spec, input_for(module)))


PRECISIONS = {"float32": lambda module, spec=AVX2: module, "int8": in_codes}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_kernel_computes_it(precision, masked):
    module = PRECISIONS[precision](attention(masked=masked))
    (call,) = attentions(module)
    assert {"product", "scores", "powers", "total", "factor", "sums", "mixed"} <= call.operations
    assert call.workload.scores.data == ("float32" if precision == "float32" else "uint8")
    shapes = [shape for shape, _ in call.arguments]
    assert (HEADS, ROWS, ROWS) not in shapes


@pytest.mark.parametrize("read", ["scores", "powers", "factor"])
def test_what_others_read_is_written(read):
    assert not attentions(attention(read=read))


@pytest.mark.parametrize("hardware", ["x86-avx2", "x86-vnni", "x86-avx512", "x86-bf16"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_results_are_those_of_kernels_one_after_another(precision, hardware, monkeypatch):
    spec = load_spec(hardware)
    if missing_features(spec):
        pytest.skip(f"this CPU lacks {', '.join(missing_features(spec))}")
    plain = attention(masked=True)
    module, inputs = PRECISIONS[precision](plain, spec), input_for(plain)

    def run():
        machine = relax.VirtualMachine(build(lowered(module, spec).module, spec), tvm.cpu())
        return machine["main"](tvm.runtime.tensor(inputs["x"])).numpy()

    together = run()
    assert attentions(module, spec)
    monkeypatch.setattr(lowering, "fuse_attentions", lambda groups, *_: groups)
    assert not attentions(module, spec)
    assert np.array_equal(run(), together)


@pytest.mark.parametrize("hardware", ["x86-vnni", "x86-bf16", "arm-dotprod", "arm-neon"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_cpu_has_the_kernel(precision, hardware):
    spec = load_spec(hardware)
    module = PRECISIONS[precision](attention(), spec)
    assert attentions(module, spec)
    assert build(lowered(module, spec).module, spec)
