"""What a quantized file says of each operand, told by the edges of its float model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hago.edges import imported_edge_reports
from hago.frontend.onnx import import_onnx
from hago.hardware.load import load_spec
from hago.prepare import prepare
from hago.realize import interpret
from hago.realize.strip import strip_qdq
from tests.onnx_models import node, normal, operators, save

U8, I8, F32 = np.uint8, np.int8, np.float32


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """conv, max-pool on codes, conv in float32: scales 0.05, 0.01 by channel and 0.1."""
    constants = {
        "xs": F32(0.05), "xz": U8(120), "rs": F32(0.1), "rz": U8(128),
        "ws": F32([0.01, 0.02, 0.03, 0.04]), "wz": np.zeros(4, I8),
        "w": np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3)).astype(I8),
        "v": normal(5, 4, 1, 1),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x xs xz", "q"),
        node("QLinearConv", "q xs xz w ws wz rs rz", "c", pads=[1, 1, 1, 1]),
        node("MaxPool", "c", "m", kernel_shape=[2, 2], strides=[2, 2]),
        node("DequantizeLinear", "m rs rz", "d"),
        node("Relu", "d", "r"),
        node("Conv", "r v"),
    ]
    return save(tmp_path / "m.onnx", nodes, {"x": (1, 3, 8, 8)}, constants, opset=19)


def test_the_float_model_is_what_is_left(model: Path) -> None:
    module = strip_qdq(prepare(import_onnx(model))).module
    expected = "permute_dims nn.conv2d nn.max_pool2d nn.relu nn.conv2d permute_dims"
    assert operators(module) == expected.split()
    assert np.isfinite(interpret(module, {"x": normal(1, 3, 8, 8)})[0]).all()


def test_every_edge_says_what_the_file_makes_of_it(model: Path) -> None:
    reports = imported_edge_reports(prepare(import_onnx(model)), load_spec("x86-avx2"))
    chosen = {report.edge: report.chosen for report in reports}
    assert chosen["permute_dims -> conv2d[0]"] == "uint8 asymmetric"
    assert chosen["conv2d.weight -> conv2d[1]"] == "int8 per channel"
    assert chosen["conv2d -> max_pool2d[0]"] == "uint8"
    assert chosen["max_pool2d -> relu[0]"] == "uint8"
    assert chosen["conv2d_1.weight -> conv2d_1[1]"] == "float32"


def test_numbers_are_those_of_the_file(model: Path) -> None:
    reports = imported_edge_reports(prepare(import_onnx(model)), load_spec("x86-avx2"))
    by_edge = {report.edge: report for report in reports}
    data, weight = by_edge["permute_dims -> conv2d[0]"], by_edge["conv2d.weight -> conv2d[1]"]
    assert (data.scale, data.zero_point) == ((float(F32(0.05)),) * 2, (120, 120))
    assert weight.scale == (float(F32(0.01)), float(F32(0.04)))


def test_what_stays_float_has_a_reason(model: Path) -> None:
    reports = imported_edge_reports(prepare(import_onnx(model)), load_spec("x86-avx2"))
    by_edge = {report.edge: report for report in reports}
    left = by_edge["conv2d_1.weight -> conv2d_1[1]"]
    assert (left.reason, left.source) == ("the model's file leaves it in float32", "model")
    assert all(report.reason and report.source for report in reports)
