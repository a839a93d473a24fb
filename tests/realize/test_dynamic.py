"""Models whose weights alone came quantized are quantized like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hago.pipeline import inspect_model
from tests.onnx_models import node, save


@pytest.mark.parametrize("op", ["Conv", "MatMul"])
def test_a_dynamically_quantized_product_is_quantized_before_it_runs(
    tmp_path: Path, op: str
) -> None:
    shape, weight = ((1, 4, 5, 5), (6, 4, 3, 3)) if op == "Conv" else ((2, 4), (4, 6))
    codes = np.random.default_rng(0).integers(-127, 128, weight).astype(np.int8)
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node(f"{op}Integer", "q w z wz", "i"),
        node("Cast", "i", "f", to=1),
        node("Mul", "s ws", "both"),
        node("Mul", "f both"),
    ]
    constants = {"w": codes, "wz": np.int8(0), "ws": np.float32(0.02)}
    path = save(tmp_path / "m.onnx", nodes, {"x": shape}, constants, opset=19)
    edges = {edge.edge: edge.chosen for edge in inspect_model(path, "x86-vnni").edges}
    name = "conv2d" if op == "Conv" else "matmul"
    assert edges[f"{name}.weight -> {name}[1]"] == "int8 per channel"
