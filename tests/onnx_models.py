"""Small ONNX models for tests, what onnx's reference says about them, and running a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tvm import cpu, ir, relax, runtime, target

Arrays = Mapping[str, np.ndarray]
EPSILON = float(np.finfo(np.float32).eps)


def node(op: str, inputs: str, output: str = "y", **attributes: object) -> onnx.NodeProto:
    """A node named after its output; `inputs` are separated by spaces, "_" is a missing one."""
    names = ["" if name == "_" else name for name in inputs.split()]
    return helper.make_node(op, names, output.split(), name=f"make_{output}", **attributes)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[object]],
    constants: Arrays | None = None,
    *,
    outputs: str = "y",
    opset: int = 17,
    dtype: int = onnx.TensorProto.FLOAT,
) -> Path:
    """Write the model; inputs map a name to its shape, outputs are float32 of unknown shape."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(n, dtype, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in outputs.split()],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Seeded normal float32 values."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def reference(path: Path, feeds: Arrays) -> list[np.ndarray]:
    """The model's outputs by ONNX's own definition of its operators."""
    return [np.asarray(v) for v in ReferenceEvaluator(str(path)).run(None, dict(feeds))]


def run(module: ir.IRModule, *inputs: np.ndarray) -> list[np.ndarray]:
    """The module's outputs, compiled plainly."""
    executable = relax.build(relax.transform.LegalizeOps()(module), target.Target("llvm"))
    result = relax.VirtualMachine(executable, cpu())["main"](*map(runtime.tensor, inputs))
    outputs = [result] if isinstance(result, runtime.Tensor) else list(result)
    return [x.numpy() for x in outputs]


def assert_close(got: np.ndarray, expected: np.ndarray, terms: int) -> None:
    """Equal up to the roundings of a sum of `terms` float32 products in any order.

    Each of the additions rounds by at most half an epsilon of the running sum, which for these
    inputs stays within 16 times the largest result.
    """
    bound = 16 * terms * (EPSILON / 2) * max(float(np.abs(expected).max()), EPSILON)
    assert got.shape == expected.shape
    assert float(np.abs(got.astype(np.float64) - expected).max()) <= bound


def operators(module: ir.IRModule) -> list[str]:
    """The operators of ``main`` in program order, without ``relax.``."""
    values = [b.value for block in module["main"].body.blocks for b in block.bindings]
    calls = [v for v in values if isinstance(v, relax.Call)]
    return [str(c.op.name).removeprefix("relax.") for c in calls]


def three_convolutions(path: Path) -> Path:
    """Layers with biases, one after the other: ``x`` [1, 4, 8, 8] to ``y`` [1, 8, 8, 8]."""
    nodes = [
        node("Conv", "x w0 b0", "c0", pads=[1, 1, 1, 1]),
        node("Relu", "c0", "r0"),
        node("Conv", "r0 w1 b1", "c1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1"),
        node("Conv", "r1 w2 b2", "y"),
    ]
    shapes = {"w0": (8, 4, 3, 3), "w1": (8, 8, 3, 3), "w2": (8, 8, 1, 1)}
    shapes.update({f"b{number}": (8,) for number in range(3)})
    weights = {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    return save(path, nodes, {"x": [1, 4, 8, 8]}, weights)
