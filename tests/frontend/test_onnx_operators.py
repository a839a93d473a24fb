"""Each operator that hago converts itself: equal to ONNX's reference, and high-level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from hago.errors import ModelError
from hago.frontend.onnx import import_onnx
from tests.onnx_models import assert_close, node, normal, operators, reference, run, save

IMAGE = (1, 4, 7, 6)
W3 = normal(6, 4, 3, 3, seed=1)
F32 = np.float32


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


# (the Relax operators that must come out, node, input shape, constants, opset)
CASES = {
    "clip by inputs": ("clip", node("Clip", "x lo hi"), {"lo": F32(-0.5), "hi": F32(1)}, 17),
    "clip from below is relu": ("nn.relu", node("Clip", "x lo"), {"lo": F32(0)}, 17),
    "clip from below": ("maximum", node("Clip", "x lo"), {"lo": F32(0.25)}, 17),
    "clip from above": ("minimum", node("Clip", "x _ hi"), {"hi": F32(0.25)}, 17),
    "hard sigmoid": ("multiply add clip", node("HardSigmoid", "x", alpha=0.3, beta=0.4), {}, 17),
    "hard swish": ("add clip divide multiply", node("HardSwish", "x"), {}, 17),
    "softmax over the last axis": ("nn.softmax", node("Softmax", "x", axis=3), {}, 11),
    "softmax": ("nn.softmax", node("Softmax", "x", axis=1), {}, 13),
    "instance norm": (
        "nn.instance_norm",
        node("InstanceNormalization", "x s b", epsilon=0.01),
        {"s": normal(4, seed=1), "b": normal(4, seed=2)},
        17,
    ),
    "constant pad": (
        "nn.pad",
        node("Pad", "x pads value"),
        {"pads": i64(0, 0, 1, 2, 0, 0, 3, 0), "value": F32(1.5)},
        17,
    ),
    "reflected pad": (
        "nn.pad",
        node("Pad", "x pads", mode="reflect"),
        {"pads": i64(0, 0, 1, 2, 0, 0, 3, 0)},
        17,
    ),
    "pad with the edge": (
        "take take",
        node("Pad", "x pads", mode="edge"),
        {"pads": i64(0, 0, 1, 2, 0, 0, 3, 0)},
        17,
    ),
    "pad with the other side": (
        "take take",
        node("Pad", "x pads", mode="wrap"),
        {"pads": i64(0, 0, 1, 2, 0, 0, 3, 0)},
        19,
    ),
    "pad of some axes": (
        "nn.pad",
        node("Pad", "x pads _ axes"),
        {"pads": i64(1, 2), "axes": i64(3)},
        18,
    ),
    "tile": ("tile", node("Tile", "x n"), {"n": i64(1, 2, 1, 3)}, 17),
    "einsum": ("einsum", node("Einsum", "x", equation="nchw->nhwc"), {}, 17),
    "running sum": ("cumsum", node("CumSum", "x axis", exclusive=1), {"axis": i64(2)[0]}, 17),
    "running sum from the end": (
        "flip cumsum flip",
        node("CumSum", "x axis", reverse=1),
        {"axis": i64(3)[0]},
        17,
    ),
    "gather of a run": (
        "take",
        node("Gather", "x i", axis=2),
        {"i": i64(2, 3, 4)},
        17,
    ),
    "gather of one": (
        "take",
        node("Gather", "x i", axis=1),
        {"i": i64(-1)[0]},
        17,
    ),
    "gather": ("take", node("Gather", "x i", axis=2), {"i": i64(5, 0, -1)}, 17),
    "global maximum": ("max", node("GlobalMaxPool", "x"), {}, 17),
    "global mean": ("mean", node("GlobalAveragePool", "x"), {}, 17),
    "nearest resize": (
        "image.resize2d",
        node("Resize", "x _ s", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        {"s": np.array([1, 1, 2, 3], F32)},
        13,
    ),
    "linear resize by sizes": (
        "image.resize2d",
        node("Resize", "x _ _ s", mode="linear"),
        {"s": i64(1, 4, 14, 12)},
        13,
    ),
    "convolution": (
        "nn.conv2d add",
        node("Conv", "x w b", strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 2]),
        {"w": W3, "b": normal(6)},
        11,
    ),
    "depthwise convolution": (
        "nn.conv2d",
        node("Conv", "x w", group=4, auto_pad="VALID"),
        {"w": normal(8, 1, 3, 3)},
        17,
    ),
    "average pool": (
        "nn.avg_pool2d",
        node("AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
        {},
        17,
    ),
    "average pool that rounds up": (
        "nn.avg_pool2d",
        node("AveragePool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 0],
             ceil_mode=1, count_include_pad=1),
        {},
        19,
    ),
    "maximum pool": (
        "nn.max_pool2d",
        node("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1),
        {},
        17,
    ),
    "transposed convolution": (
        "nn.conv2d_transpose add",
        node("ConvTranspose", "x w b", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
        {"w": normal(4, 6, 3, 3), "b": normal(6)},
        17,
    ),
    "batch norm": (
        "nn.batch_norm",
        node("BatchNormalization", "x g b m v"),
        {"g": normal(4), "b": normal(4, seed=1), "m": normal(4, seed=2), "v": normal(4) ** 2},
        15,
    ),
}


@pytest.mark.parametrize(
    ("ops", "operator", "constants", "opset"), list(CASES.values()), ids=list(CASES)
)
def test_an_operator_means_what_onnx_says(
    tmp_path: Path,
    ops: str,
    operator: onnx.NodeProto,
    constants: dict[str, np.ndarray],
    opset: int,
) -> None:
    path = save(tmp_path / "m.onnx", [operator], {"x": IMAGE}, constants, opset=opset)
    module, x = import_onnx(path), normal(*IMAGE)
    assert operators(module) == ops.split()
    assert_close(run(module, x)[0], reference(path, {"x": x})[0], terms=64)


def test_the_softmax_before_opset_13_takes_all_axes_from_one_on(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [node("Softmax", "x", axis=2)], {"x": IMAGE}, opset=11)
    module, x = import_onnx(path), normal(*IMAGE)
    assert operators(module) == ["reshape", "nn.softmax", "reshape"]
    exponentials = np.exp(x)
    expected = exponentials / exponentials.sum((2, 3), keepdims=True)
    assert_close(run(module, x)[0], expected, terms=42)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [5, 6])
def test_automatic_padding_gives_the_output_the_size_that_onnx_says(
    tmp_path: Path, mode: str, stride: int, size: int
) -> None:
    operator = node("Conv", "x w", auto_pad=mode, strides=[stride, stride])
    path = save(tmp_path / "m.onnx", [operator], {"x": (1, 1, size, size)}, {"w": W3[:1, :1]})
    module = import_onnx(path)
    padding = module["main"].body.blocks[0].bindings[0].value.attrs.padding
    begin, end = int(padding[0]), int(padding[2])
    total = max((-(-size // stride) - 1) * stride + 3 - size, 0)
    assert begin + end == total
    assert begin - end in ((0, -1) if mode == "SAME_UPPER" else (0, 1))


def test_a_transposed_convolution_of_one_axis_becomes_one_of_two(tmp_path: Path) -> None:
    operator = node("ConvTranspose", "x w", strides=[2], pads=[1, 0])
    path = save(tmp_path / "m.onnx", [operator], {"x": (1, 4, 5)}, {"w": normal(4, 3, 3)})
    module, x = import_onnx(path), normal(1, 4, 5)
    assert "nn.conv2d_transpose" in operators(module)
    assert_close(run(module, x)[0], reference(path, {"x": x})[0], terms=12)


def test_a_given_output_shape_decides_the_padding_of_a_transposed_convolution(
    tmp_path: Path,
) -> None:
    operator = node("ConvTranspose", "x w", strides=[2, 3], output_shape=[14, 17])
    path = save(tmp_path / "m.onnx", [operator], {"x": IMAGE}, {"w": normal(4, 6, 3, 3)})
    call = import_onnx(path)["main"].body.blocks[0].bindings[0].value
    # 2 * (7 - 1) + 3 = 15 rows and 3 * (6 - 1) + 3 = 18 columns are one too many: cut the first
    assert [int(p) for p in call.attrs.padding] == [1, 1, 0, 0]
    assert [int(d) for d in call.ty.shape] == [1, 6, 14, 17]


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_becomes_a_matmul_with_its_constants_ready(tmp_path: Path, transposed: int) -> None:
    weight, bias = normal(5, 3), normal(3, seed=2)
    operator = node("Gemm", "x w b", transB=transposed, alpha=0.5, beta=2.0)
    constants = {"w": weight.T if transposed else weight, "b": bias}
    path = save(tmp_path / "m.onnx", [operator], {"x": (2, 5)}, constants)
    module, x = import_onnx(path), normal(2, 5, seed=3)
    assert operators(module) == ["matmul", "add"]
    assert_close(run(module, x)[0], reference(path, {"x": x})[0], terms=5)


def test_a_nan_bound_does_not_bound(tmp_path: Path) -> None:
    nan = {"lo": F32(np.nan), "hi": F32(1)}
    nodes = [node("Constant", "", "lo", value_float=float("nan")), node("Clip", "x lo hi")]
    path = save(tmp_path / "m.onnx", nodes, {"x": (3,)}, {"hi": nan["hi"]})
    assert operators(import_onnx(path)) == ["minimum"]


def test_shape_arithmetic_leaves_no_trace(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n axes", "n1"),
        node("Concat", "n1 rest", "shape", axis=0),
        node("Reshape", "x shape"),
    ]
    constants = {"zero": i64(0)[0], "axes": i64(0), "rest": i64(-1)}
    path = save(tmp_path / "m.onnx", nodes, {"x": (2, 3, 4)}, constants)
    module = import_onnx(path)
    assert operators(module) == ["reshape"]
    assert [int(d) for d in module["main"].ret_ty.shape] == [2, 12]


@pytest.mark.parametrize("taken", [True, False])
def test_only_the_branch_that_is_taken_is_imported(tmp_path: Path, taken: bool) -> None:
    def branch(op: str) -> onnx.GraphProto:
        info = onnx.helper.make_tensor_value_info(f"{op}_out", onnx.TensorProto.FLOAT, None)
        return onnx.helper.make_graph([node(op, "x", f"{op}_out")], op, [], [info])

    choice = node("If", "c", then_branch=branch("Relu"), else_branch=branch("Tanh"))
    path = save(tmp_path / "m.onnx", [choice], {"x": (2,)}, {"c": np.array(taken)})
    assert operators(import_onnx(path)) == ["nn.relu" if taken else "tanh"]


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    half = onnx.TensorProto.FLOAT16
    nodes = [node("Mul", "x w", "z"), node("Cast", "z", to=onnx.TensorProto.FLOAT)]
    weight = {"w": np.full((3,), 0.1, np.float16)}
    path = save(tmp_path / "m.onnx", nodes, {"x": (3,)}, weight, dtype=half)
    module = import_onnx(path)
    assert str(module["main"].params[0].ty.dtype) == "float32"
    assert operators(module) == ["multiply"]


def test_a_refused_use_of_an_operator_names_the_node(tmp_path: Path) -> None:
    operator = node("BatchNormalization", "x s s s s", training_mode=1)
    path = save(tmp_path / "m.onnx", [operator], {"x": IMAGE}, {"s": np.ones(IMAGE[1], "f4")})
    with pytest.raises(
        ModelError,
        match=r"node 'make_y' \(BatchNormalization\) cannot be imported\n.*training mode",
    ):
        import_onnx(path)


@pytest.mark.parametrize(
    ("scales", "attributes", "fact"),
    [((1, 1, 0.5, 0.5), {"antialias": 1}, "antialias=1"), ((1, 1, 1.3, 1), {}, "no whole numbers")],
)
def test_a_resize_that_is_not_by_the_ratio_of_sizes_is_refused(
    scales: tuple[float, ...], attributes: dict[str, int], fact: str, tmp_path: Path
) -> None:
    operator = node("Resize", "x _ s", mode="linear", **attributes)
    weights = {"s": np.array(scales, F32)}
    path = save(tmp_path / "m.onnx", [operator], {"x": IMAGE}, weights, opset=18)
    with pytest.raises(ModelError, match=fact):
        import_onnx(path)


def test_dropout_and_identity_leave_nothing(tmp_path: Path) -> None:
    nodes = [node("Dropout", "x", "a"), node("Identity", "a", "b"), node("Relu", "b")]
    path = save(tmp_path / "m.onnx", nodes, {"x": (2,)})
    assert operators(import_onnx(path)) == ["nn.relu"]


def test_an_output_that_has_no_form_is_refused(tmp_path: Path) -> None:
    operator = node("MaxPool", "x", "y indices", kernel_shape=[2, 2])
    path = save(tmp_path / "m.onnx", [operator], {"x": IMAGE}, outputs="y")
    with pytest.raises(ModelError, match=r"its output 1 \('indices'\) has no Relax form"):
        import_onnx(path)


def test_an_empty_activation_is_refused(tmp_path: Path) -> None:
    bounds = {"low": i64(2), "high": i64(2)}
    path = save(tmp_path / "m.onnx", [node("Slice", "x low high")], {"x": (4,)}, bounds)
    with pytest.raises(ModelError, match="'y' has a zero-size dimension"):
        import_onnx(path)


def test_negative_pads_crop(tmp_path: Path) -> None:
    pads = {"pads": i64(0, 0, -1, 2, 0, 0, 0, -1)}
    path = save(tmp_path / "m.onnx", [node("Pad", "x pads")], {"x": IMAGE}, pads)
    x = normal(*IMAGE)
    expected = np.pad(x[:, :, 1:, :-1], ((0, 0), (0, 0), (0, 0), (2, 0)))
    np.testing.assert_array_equal(run(import_onnx(path), x)[0], expected)
