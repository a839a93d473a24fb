"""Quantized ONNX files arrive as quantize / dequantize around float operators, exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from hago.errors import ModelError
from hago.frontend.onnx import import_onnx
from hago.prepare import prepare
from tests.onnx_models import assert_close, node, normal, operators, reference, run, save

U8, I8, I32, F32 = np.uint8, np.int8, np.int32, np.float32
RANDOM = np.random.default_rng(0)


def codes(*shape: int, low: int = -127, high: int = 128, dtype: type = I8) -> np.ndarray:
    return RANDOM.integers(low, high, shape).astype(dtype)


def numbers(name: str, scale: object, zero: object) -> dict[str, np.ndarray]:
    return {f"{name}s": np.asarray(scale, F32), f"{name}z": np.asarray(zero)}


def quantized_input(after: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    first = node("QuantizeLinear", "x xs xz", "q")
    return [first, *after, node("DequantizeLinear", "r rs rz")]


def assert_same_codes(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal in whole output steps; the scales are chosen so that no value lies on a tie."""
    np.testing.assert_array_equal(np.rint(got), np.rint(expected))


def imported(path: Path, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The prepared import's output, and the reference's, in output steps."""
    got = run(prepare(import_onnx(path)), x)[0]
    return got / 0.2471, reference(path, {"x": x})[0] / 0.2471


def test_a_qlinear_convolution_is_exact(tmp_path: Path) -> None:
    constants = {
        **numbers("x", 0.0503, U8(120)),
        **numbers("w", [0.01, 0.02, 0.03], np.zeros(3, I8)),
        **numbers("r", 0.2471, U8(100)),
        "w": codes(3, 2, 3, 3),
        "b": codes(3, low=-500, high=500, dtype=I32),
    }
    conv = node("QLinearConv", "q xs xz w ws wz rs rz b", "r", pads=[1, 1, 1, 1])
    path = save(
        tmp_path / "m.onnx", quantized_input([conv]), {"x": (1, 2, 5, 5)}, constants, opset=19
    )
    got, expected = imported(path, normal(1, 2, 5, 5))
    assert len(np.unique(expected)) > 10
    assert_same_codes(got, expected)


def test_a_qlinear_matmul_is_exact(tmp_path: Path) -> None:
    constants = {
        **numbers("x", 0.0503, U8(120)),
        **numbers("w", 0.02, I8(3)),
        **numbers("r", 0.2471, U8(100)),
        "w": codes(8, 4),
    }
    matmul = node("QLinearMatMul", "q xs xz w ws wz rs rz", "r")
    path = save(tmp_path / "m.onnx", quantized_input([matmul]), {"x": (3, 8)}, constants, opset=19)
    assert_same_codes(*imported(path, normal(3, 8)))


def test_per_axis_codes_keep_their_axis_through_the_layout(tmp_path: Path) -> None:
    constants = {
        **numbers("w", [0.01, 0.02, 0.03, 0.04], np.array([1, -2, 3, 0], I8)),
        "w": codes(4, 2, 3, 3),
    }
    nodes = [node("DequantizeLinear", "w ws wz", "wf", axis=0), node("Conv", "x wf")]
    path = save(tmp_path / "m.onnx", nodes, {"x": (1, 2, 5, 5)}, constants, opset=19)
    module, x = prepare(import_onnx(path)), normal(1, 2, 5, 5)
    bindings = {b.var.name: b.value for b in module["main"].body.blocks[0].bindings}
    weight = bindings["dequantize"]
    assert weight.args[0].value.numpy().dtype == np.int8
    assert weight.args[0].value.numpy().shape == (4, 3, 3, 2)
    assert int(weight.attrs.axis) == 0
    assert_close(run(module, x)[0], reference(path, {"x": x})[0], terms=18)


def test_a_quantized_input_is_permuted_before_it_is_quantized(tmp_path: Path) -> None:
    constants = {**numbers("x", 0.0503, U8(120)), "w": normal(4, 2, 3, 3)}
    nodes = [
        node("QuantizeLinear", "x xs xz", "q"),
        node("DequantizeLinear", "q xs xz", "d"),
        node("Conv", "d w"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": (1, 2, 5, 5)}, constants, opset=19)
    expected = ["permute_dims", "quantize", "dequantize", "nn.conv2d", "permute_dims"]
    assert operators(prepare(import_onnx(path))) == expected


def test_an_int32_bias_becomes_a_float_constant(tmp_path: Path) -> None:
    constants = {**numbers("b", 0.5, I32(0)), "b": np.array([2, -4, 6], I32)}
    nodes = [node("DequantizeLinear", "b bs bz", "bf"), node("Add", "x bf")]
    path = save(tmp_path / "m.onnx", nodes, {"x": (2, 3)}, constants)
    module = prepare(import_onnx(path))
    assert operators(module) == ["add"]
    bias = module["main"].body.blocks[0].bindings[0].value.args[1].value.numpy()
    np.testing.assert_array_equal(bias, np.array([1, -2, 3], F32))


def test_integer_matmul_is_exact(tmp_path: Path) -> None:
    constants = {"xs": F32(0.05), "xz": U8(120), "w": codes(8, 4), "wz": I8(3)}
    nodes = [
        node("QuantizeLinear", "x xs xz", "q"),
        node("MatMulInteger", "q w xz wz", "i"),
        node("Cast", "i", to=onnx.TensorProto.FLOAT),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": (3, 8)}, constants, opset=19)
    x = normal(3, 8)
    np.testing.assert_array_equal(run(import_onnx(path), x)[0], reference(path, {"x": x})[0])


def test_dynamic_quantization_becomes_the_float_model_with_integer_weights(
    tmp_path: Path,
) -> None:
    constants = {"w": codes(8, 4), "wz": I8(0), "ws": F32(0.02)}
    nodes = [
        node("DynamicQuantizeLinear", "x", "q s z"),
        node("MatMulInteger", "q w z wz", "i"),
        node("Cast", "i", "f", to=onnx.TensorProto.FLOAT),
        node("Mul", "s ws", "both"),
        node("Mul", "f both"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": (3, 8)}, constants, opset=19)
    module, x = prepare(import_onnx(path)), normal(3, 8)
    assert operators(module) == ["dequantize", "matmul"]
    weight = constants["w"].astype(F32) * constants["ws"]
    assert_close(run(module, x)[0], x @ weight, terms=8)


# onnx's reference has no com.microsoft operators: these are their definitions
CONTRIBUTED = {
    "QLinearAdd": (node("QLinearAdd", "q xs xz k ks kz rs rz", "r"), lambda x, k: x + k),
    "QLinearMul": (node("QLinearMul", "q xs xz k ks kz rs rz", "r"), lambda x, k: x * k),
    "QLinearSigmoid": (
        node("QLinearSigmoid", "q xs xz rs rz", "r"),
        lambda x, k: 1 / (1 + np.exp(-x)),
    ),
    "QLinearLeakyRelu": (
        node("QLinearLeakyRelu", "q xs xz rs rz", "r", alpha=0.5),
        lambda x, k: np.where(x < 0, 0.5 * x, x),
    ),
    "QLinearGlobalAveragePool": (
        node("QLinearGlobalAveragePool", "q xs xz rs rz", "r"),
        lambda x, k: x.mean((2, 3), keepdims=True),
    ),
    "QLinearConcat": (
        node("QLinearConcat", "rs rz q xs xz k ks kz", "r", axis=1),
        lambda x, k: np.concatenate([x, k], 1),
    ),
    "QLinearAveragePool": (
        node("QLinearAveragePool", "q xs xz rs rz", "r", kernel_shape=[1, 2]),
        lambda x, k: (x[..., :-1] + x[..., 1:]) / 2,
    ),
    "QLinearSoftmax": (
        node("QLinearSoftmax", "q xs xz rs rz", "r", axis=-1, opset=13),
        lambda x, k: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    ),
}


@pytest.mark.parametrize("name", CONTRIBUTED)
def test_a_contributed_operator_means_dequantize_compute_quantize(
    tmp_path: Path, name: str
) -> None:
    operator, meaning = CONTRIBUTED[name]
    operator.domain = "com.microsoft"
    k = codes(1, 2, 3, 4, low=0, high=255, dtype=U8)
    constants = {
        **numbers("x", 0.0503, U8(120)),
        **numbers("k", 0.03, U8(110)),
        **numbers("r", 0.0191, U8(64)),
        "k": k,
    }
    path = save(tmp_path / "m.onnx", quantized_input([operator]), {"x": (1, 2, 3, 4)}, constants)
    x = normal(1, 2, 3, 4)
    x_codes = np.clip(np.rint(x / F32(0.0503)) + 120, 0, 255)
    exact = meaning((x_codes - 120) * 0.0503, (k.astype(float) - 110) * 0.03)
    got = run(import_onnx(path), x)[0] / 0.0191
    expected = np.clip(np.rint(exact / 0.0191), -64, 191)
    assert_same_codes(got, expected)


def test_a_quantized_gemm_means_dequantize_multiply_quantize(tmp_path: Path) -> None:
    weight, bias = codes(4, 8), codes(4, low=-900, high=900, dtype=I32)
    constants = {
        **numbers("x", 0.0503, U8(120)),
        **numbers("w", 0.02, I8(0)),
        **numbers("r", 0.2471, U8(100)),
        "w": weight,
        "b": bias,
    }
    gemm = node("QGemm", "q xs xz w ws wz b rs rz", "r", transB=1)
    gemm.domain = "com.microsoft"
    path = save(tmp_path / "m.onnx", quantized_input([gemm]), {"x": (3, 8)}, constants, opset=19)
    x = normal(3, 8)
    x_codes = np.clip(np.rint(x / F32(0.0503)) + 120, 0, 255)
    exact = ((x_codes - 120) @ weight.T.astype(float) + bias) * 0.0503 * 0.02
    got = run(prepare(import_onnx(path)), x)[0] / 0.2471
    assert_same_codes(got, np.clip(np.rint(exact / 0.2471), -100, 155))


NARROW = {
    "INT2": (-2, 1),
    "UINT2": (0, 3),
    "INT4": (-8, 7),
    "UINT4": (0, 15),
    "INT8": (-128, 127),
    "FLOAT8E4M3FN": (-200, 200),
    "FLOAT8E5M2": (-200, 200),
    "FLOAT4E2M1": (-6, 6),
}


@pytest.mark.parametrize("block", [0, 8, 12])
@pytest.mark.parametrize("kind", NARROW)
def test_narrow_weights_are_what_onnx_says(tmp_path: Path, kind: str, block: int) -> None:
    dtype = getattr(onnx.TensorProto, kind, None)
    if dtype is None:
        pytest.skip(f"the installed onnx does not know {kind}")
    random, (low, high) = np.random.default_rng(0), NARROW[kind]
    codes = random.uniform(low, high, (32, 6))
    codes = np.rint(codes) if "INT" in kind else codes
    scale = random.uniform(0.01, 0.02, (-(-32 // block), 6) if block else (6,))
    attributes = {"axis": 0, "block_size": block} if block else {"axis": 1}
    nodes = [node("DequantizeLinear", "w s", "d", **attributes), node("MatMul", "x d")]
    path = save(tmp_path / "m.onnx", nodes, {"x": (4, 32)}, {"s": scale.astype(np.float32)},
                opset=25)  # fmt: skip
    model = onnx.load(path)
    values = codes.astype(np.float32).ravel().tolist()
    model.graph.initializer.append(onnx.helper.make_tensor("w", dtype, codes.shape, values))
    onnx.save(model, path)
    stored = onnx.numpy_helper.to_array(model.graph.initializer[-1]).astype(np.float32)
    spread = np.repeat(scale, block, 0)[:32] if block else scale
    x = normal(4, 32)
    expected = x @ (stored * spread.astype(np.float32))
    assert_close(run(import_onnx(path), x)[0], expected, terms=32)


@pytest.mark.parametrize(
    ("operator", "constants", "fact"),
    [
        (node("Cast", "x", to=onnx.TensorProto.FLOAT8E4M3FN), {}, "a cast to float8_e4m3fn"),
        (node("QuantizeLinear", "x s", "y", output_dtype=onnx.TensorProto.FLOAT8E5M2),
         {"s": np.float32(1)}, "codes of float8_e5m2"),
        (node("QuantizeLinear", "x s", "y", output_dtype=onnx.TensorProto.INT4),
         {"s": np.float32(1)}, "codes of int4"),
        (node("QuantizeLinear", "x s", "y", axis=0, block_size=2),
         {"s": np.ones((2, 2), np.float32)}, "blocked quantization"),
    ],
    ids=["cast", "float codes", "narrow codes", "blocks"],
)  # fmt: skip
def test_activations_in_narrow_types_are_refused(
    tmp_path: Path, operator: onnx.NodeProto, constants: dict[str, np.ndarray], fact: str
) -> None:
    path = save(tmp_path / "m.onnx", [operator], {"x": (4, 2)}, constants, opset=21)
    with pytest.raises(ModelError, match=fact):
        import_onnx(path)
