"""Quantized ONNX files, compiled: every layer alone is within one code of ONNX's own definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from hago.dataflow import read_dataflow
from hago.frontend.onnx import import_onnx
from hago.hardware.load import load_spec
from hago.lower.callable import compile_callable
from hago.prepare import prepare
from hago.realize import realize_imported
from tests.onnx_models import node, normal, reference, save

AVX2 = load_spec("x86-avx2")
LAYERS = ("dense", "depthwise", "grouped", "product", "sum", "move")
STEP = 0.2471  # of every result: far from ties of the products' scales


class File:
    """Layers that all read the codes ``q`` of the one input, in one form of quantized files."""

    def __init__(
        self, data: str, weight: str, is_per_channel: bool, is_operator_form: bool
    ) -> None:
        self.random = np.random.default_rng(0)
        self.weight, self.is_per_channel = weight, is_per_channel
        self.is_operator_form = is_operator_form
        zero = np.asarray(128 if data == "uint8" else 3, data)
        self.constants = {
            "xs": np.float32(0.0503), "xz": zero, "rs": np.float32(STEP), "rz": zero,
        }  # fmt: skip
        self.nodes = [
            node("QuantizeLinear", "x xs xz", "q"),
            node("DequantizeLinear", "q xs xz", "xf"),
        ]

    def weights(self, name: str, *shape: int, axis: int = 0) -> str:
        """Codes with scale and zero point; the names of the three."""
        count = (shape[axis],) if self.is_per_channel else ()
        bounds = np.iinfo(self.weight)
        codes = self.random.integers(bounds.min, bounds.max, shape, endpoint=True)
        zeros = self.random.integers(100, 140, count) if self.weight == "uint8" else np.zeros(count)
        self.constants |= {
            name: codes.astype(self.weight),
            f"{name}s": self.random.uniform(0.01, 0.02, count).astype(np.float32),
            f"{name}z": np.asarray(zeros).astype(self.weight),
        }
        return f"{name} {name}s {name}z"

    def convolve(self, name: str, channels: int, groups: int) -> None:
        weights = self.weights(f"{name}_w", channels, 6 // groups, 3, 3)
        attributes = {"group": groups, "pads": [1, 1, 1, 1]}
        if self.is_operator_form:
            self.nodes.append(
                node("QLinearConv", f"q xs xz {weights} rs rz", f"{name}_q", **attributes)
            )
            return
        self.nodes += [
            node("DequantizeLinear", weights, f"{name}_wf", axis=0),
            node("Conv", f"xf {name}_wf", f"{name}_f", **attributes),
            node("QuantizeLinear", f"{name}_f rs rz", f"{name}_q"),
        ]

    def multiply(self) -> None:
        weights = self.weights("product_w", 5, 4, axis=1)
        if self.is_operator_form:
            self.nodes.append(node("QLinearMatMul", f"q xs xz {weights} rs rz", "product_q"))
            return
        self.nodes += [
            node("DequantizeLinear", weights, "product_wf", axis=1),
            node("MatMul", "xf product_wf", "product_f"),
            node("QuantizeLinear", "product_f rs rz", "product_q"),
        ]

    def rest(self) -> None:
        self.nodes += [
            node("Add", "xf xf", "sum_f"),
            node("QuantizeLinear", "sum_f rs rz", "sum_q"),
            node("Transpose", "q", "moved", perm=[0, 1, 3, 2]),
            node("DequantizeLinear", "moved xs xz", "move_f"),
            node("QuantizeLinear", "move_f rs rz", "move_q"),
            *(node("DequantizeLinear", f"{name}_q rs rz", name) for name in LAYERS),
        ]


def save_file(path: Path, *form: object) -> Path:
    file = File(*form)
    file.convolve("dense", 7, 1)
    file.convolve("depthwise", 6, 6)
    file.convolve("grouped", 4, 2)
    file.multiply()
    file.rest()
    outputs = " ".join(LAYERS)
    shapes = {"x": (1, 6, 5, 5)}
    return save(path, file.nodes, shapes, file.constants, outputs=outputs, opset=19)


@pytest.mark.parametrize(
    "form",
    [
        ("uint8", "int8", True, False), ("int8", "int8", False, False),
        ("uint8", "uint8", False, False), ("int8", "uint8", True, False),
        # onnx's definition of QLinearConv has one zero point of weights for all channels.
        ("uint8", "int8", True, True), ("int8", "int8", False, True),
        ("uint8", "uint8", False, True),
    ],
    ids=lambda form: f"{form[0]}-{form[1]}-{'operators' if form[3] else 'QDQ'}",
)  # fmt: skip
def test_every_layer_is_within_one_code(
    tmp_path: Path, form: tuple[str, str, bool, bool]
) -> None:
    path = save_file(tmp_path / "m.onnx", *form)
    realized = realize_imported(prepare(import_onnx(path)), AVX2)
    products = [n for n in read_dataflow(realized).nodes if n.op in ("nn.conv2d", "matmul")]
    assert {product.dtype for product in products} == {"int32"}
    x = normal(1, 6, 5, 5) * np.float32(2)
    found = compile_callable(realized, AVX2)({"x": x})
    for name, expected in zip(LAYERS, reference(path, {"x": x}), strict=True):
        apart = np.abs(np.rint(found[name] / STEP) - np.rint(expected / STEP))
        assert len(np.unique(expected)) > 10, name
        assert apart.max() <= 1, name
        # Ties are where float32 rounds x / s to the other side: a few in 2^24 / 255.
        assert apart.mean() < 0.01, name


def test_a_file_that_takes_codes_is_compiled_too(tmp_path: Path) -> None:
    file = File("int8", "int8", True, False)
    weights = file.weights("w", 5, 4, axis=1)
    nodes = [
        node("DequantizeLinear", "x xs xz", "xf"),
        node("DequantizeLinear", weights, "wf", axis=1),
        node("MatMul", "xf wf"),
    ]
    kind = onnx.TensorProto.INT8
    path = save(tmp_path / "m.onnx", nodes, {"x": (3, 5)}, file.constants, opset=19, dtype=kind)
    realized = realize_imported(prepare(import_onnx(path)), AVX2)
    x = np.random.default_rng(1).integers(-128, 128, (3, 5)).astype(np.int8)
    (found,) = compile_callable(realized, AVX2)({"x": x}).values()
    np.testing.assert_allclose(found, reference(path, {"x": x})[0], rtol=1e-5, atol=1e-5)
