"""TensorFlow Lite files give what Google's own runtime gives."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import hago
from hago.errors import ModelError
from hago.frontend import tflite as frontend
from hago.frontend.tflite import import_tflite
from hago.hardware.host import host_spec
from hago.model import came_quantized
from hago.pipeline import Options
from hago.prepare import prepare
from hago.realize import interpret, realize_imported
from tests.tflite_models import File, Quantization

RANDOM = np.random.default_rng(0)
SAME, VALID = 0, 1
RELU, RELU6 = 1, 3


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def float_network() -> bytes:
    """A convolution, a depthwise one, a parametric relu, a pool, a dense layer, a softmax."""
    file = File()
    image = file.tensor("serving_default_image:0", (1, 9, 9, 3))
    conv = file.tensor("conv", (1, 5, 5, 8))
    weight = file.tensor("weight", (8, 3, 3, 3), value=normal(8, 3, 3, 3))
    bias = file.tensor("bias", (8,), value=normal(8))
    file.operator(
        "CONV_2D", [image, weight, bias], [conv], Padding=SAME, StrideH=2, StrideW=2,
        FusedActivationFunction=RELU6,
    )  # fmt: skip
    depthwise = file.tensor("depthwise", (1, 5, 5, 8))
    weight = file.tensor("depthwise_weight", (1, 3, 3, 8), value=normal(1, 3, 3, 8))
    file.operator(
        "DEPTHWISE_CONV_2D", [conv, weight, bias], [depthwise], Padding=SAME, StrideH=1, StrideW=1,
        DepthMultiplier=1,
    )  # fmt: skip
    bent = file.tensor("bent", (1, 5, 5, 8))
    slope = file.tensor("slope", (1, 1, 8), value=normal(1, 1, 8))
    file.operator("PRELU", [depthwise, slope], [bent])
    pooled = file.tensor("pooled", (1, 2, 2, 8))
    file.operator(
        "AVERAGE_POOL_2D", [bent], [pooled], Padding=VALID, StrideH=2, StrideW=2,
        FilterHeight=2, FilterWidth=2,
    )  # fmt: skip
    scores, result = file.tensor("scores", (1, 4)), file.tensor("StatefulCall:0", (1, 4))
    weight = file.tensor("dense", (4, 32), value=normal(4, 32) / 8)
    flat = file.tensor("flat", (1, 32))
    shape = file.tensor("shape", (2,), "int32", (1, 32))
    file.operator("RESHAPE", [pooled, shape], [flat])
    file.operator("FULLY_CONNECTED", [flat, weight], [scores])
    file.operator("SOFTMAX", [scores], [result], Beta=1.0)
    return file.content([image], [result])


def integer_network() -> bytes:
    """The 8-bit form that TensorFlow's converter writes: int8, weights per channel."""
    file, per_tensor = File(), Quantization
    image = file.tensor("image", (1, 8, 8, 4), "int8", None, per_tensor([0.02], [-3]))
    conv = file.tensor("conv", (1, 8, 8, 8), "int8", None, per_tensor([0.05], [-128]))
    scales = RANDOM.uniform(0.005, 0.02, 8)
    weight = file.tensor(
        "weight", (8, 3, 3, 4), "int8", RANDOM.integers(-127, 128, (8, 3, 3, 4)),
        Quantization(scales, [0] * 8, 0),
    )  # fmt: skip
    bias = file.tensor(
        "bias", (8,), "int32", RANDOM.integers(-900, 900, 8),
        Quantization(scales * 0.02, [0] * 8, 0),
    )  # fmt: skip
    file.operator(
        "CONV_2D", [image, weight, bias], [conv], Padding=SAME, StrideH=1, StrideW=1,
        FusedActivationFunction=RELU,
    )  # fmt: skip
    depthwise = file.tensor("depthwise", (1, 4, 4, 8), "int8", None, per_tensor([0.09], [5]))
    weight = file.tensor(
        "depthwise_weight", (1, 3, 3, 8), "int8", RANDOM.integers(-127, 128, (1, 3, 3, 8)),
        Quantization(scales, [0] * 8, 3),
    )  # fmt: skip
    bias = file.tensor(
        "depthwise_bias", (8,), "int32", RANDOM.integers(-900, 900, 8),
        Quantization(scales * 0.05, [0] * 8, 0),
    )  # fmt: skip
    file.operator(
        "DEPTHWISE_CONV_2D", [conv, weight, bias], [depthwise], Padding=SAME, StrideH=2, StrideW=2,
        DepthMultiplier=1,
    )  # fmt: skip
    flat = file.tensor("flat", (1, 128), "int8", None, per_tensor([0.09], [5]))
    shape = file.tensor("shape", (2,), "int32", (1, 128))
    file.operator("RESHAPE", [depthwise, shape], [flat])
    weight = file.tensor(
        "dense", (4, 128), "int8", RANDOM.integers(-127, 128, (4, 128)), per_tensor([0.004], [0])
    )
    bias = file.tensor(
        "dense_bias", (4,), "int32", [100, -50, 0, 7], per_tensor([0.004 * 0.09], [0])
    )
    scores = file.tensor("scores", (1, 4), "int8", None, per_tensor([0.3], [10]))
    file.operator("FULLY_CONNECTED", [flat, weight, bias], [scores])
    return file.content([image], [scores])


def of_google(content: bytes, value: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.fixture
def written(tmp_path):
    def write(content: bytes):
        path = tmp_path / "model.tflite"
        path.write_bytes(content)
        return path

    return write


def test_a_float_network_keeps_its_names_and_values(written):
    content, image = float_network(), normal(1, 9, 9, 3)
    module = import_tflite(written(content))
    main = module["main"]
    assert list(main.attrs["hago.input_names"]) == ["serving_default_image:0"]
    assert list(main.attrs["hago.output_names"]) == ["StatefulCall:0"]
    prepared = prepare(module)
    (actual,) = interpret(prepared, {str(prepared["main"].params[0].name): image})
    np.testing.assert_allclose(actual, of_google(content, image), rtol=1e-5)


def test_shapes_that_the_network_computes_are_those_of_the_file(written):
    """As TensorFlow writes where the size of a batch was open: reshape(x, shape(y))."""
    file = File()
    image, flat = file.tensor("image", (1, 3, 4)), file.tensor("flat", (1, 12))
    extents = file.tensor("extents", (2,), "int32", (1, 12))
    file.operator("RESHAPE", [image, extents], [flat])
    wide, axis = file.tensor("wide", (1, 1, 12)), file.tensor("axis", (), "int32", -2)
    file.operator("EXPAND_DIMS", [flat, axis], [wide])
    computed = file.tensor("computed", (3,), "int32")
    file.operator("SHAPE", [image], [computed], OutType=2)
    result = file.tensor("result", (1, 3, 4))
    file.operator("RESHAPE", [wide, computed], [result])
    content, value = file.content([image], [result]), normal(1, 3, 4)
    module = import_tflite(written(content))
    (actual,) = interpret(prepare(module), {str(module["main"].params[0].name): value})
    np.testing.assert_array_equal(actual, of_google(content, value))
    np.testing.assert_array_equal(actual, value)


def test_what_tvm_cannot_convert_is_told_by_its_own_words(written, capfd):
    file = File()
    image, result = file.tensor("image", (1, 3, 4)), file.tensor("result", (1, 3, 4))
    file.operator("EXPAND_DIMS", [image], [result])
    with pytest.raises(ModelError, match="not enough values to unpack"):
        import_tflite(written(file.content([image], [result])))
    assert capfd.readouterr().err == ""


def test_a_float_network_is_compiled_to_integers(written, tmp_path):
    content = float_network()
    samples = [{"serving_default_image:0": normal(1, 9, 9, 3)} for _ in range(8)]
    folder = tmp_path / "artifact"
    options = Options("int8")
    hago.compile_model(written(content), host_spec().name, samples, folder, options)
    model = hago.load(folder)
    exact = np.concatenate([of_google(content, *s.values()) for s in samples])
    actual = np.concatenate([model(*s.values()) for s in samples])
    # Probabilities: eight bits in each layer cost some hundredths.
    assert np.abs(actual - exact).max() < 0.1
    assert np.abs(actual - exact).max() > 0


def test_an_integer_network_gives_googles_codes(written):
    content = integer_network()
    module = prepare(import_tflite(written(content)))
    assert came_quantized(module)
    real = realize_imported(module, host_spec())
    for _ in range(8):
        image = RANDOM.integers(-128, 128, (1, 8, 8, 4)).astype("int8")
        (actual,) = interpret(real, {str(real["main"].params[0].name): image})
        expected = of_google(content, image)
        assert actual.dtype == expected.dtype == np.int8
        # Google rounds by fixed-point numbers, hago by float32: a tie may fall on either side.
        assert np.abs(actual.astype(int) - expected).max() <= 1


def custom_network() -> bytes:
    file = File()
    source, target = file.tensor("x", (1, 4)), file.tensor("y", (1, 4))
    file.operator("CUSTOM", [source], [target])
    return file.content([source], [target])


def network_with(value: float) -> bytes:
    file = File()
    x, y, w = (file.tensor(name, (1, 2)) for name in ("x", "y", "z"))
    w = file.tensor("scale", (1, 2), value=[value, 1])
    file.operator("ADD", [x, w], [y])
    return file.content([x], [y])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "bytes 4 to 8"),
        (b"this is a text file and no model", "bytes 4 to 8"),
        (float_network()[:200], "damaged"),
        (network_with(np.nan), "'scale' is not finite"),
        (custom_network(), "custom operator .*makes 'y'"),
    ],
)
def test_what_cannot_be_used_is_refused(content, words, written):
    with pytest.raises(ModelError, match=words):
        import_tflite(written(content))


@pytest.mark.parametrize("count", [60, 100, 400, 900, 1500])
def test_a_file_that_was_cut_off_is_refused(count, written):
    content = float_network()
    with pytest.raises(ModelError):
        import_tflite(written(content[: len(content) - count]))


def test_shapes_are_those_of_the_file(written):
    path = written(float_network())
    import_tflite(path, {"serving_default_image:0": (1, 9, 9, 3)})
    with pytest.raises(ModelError, match="its inputs are serving_default_image:0=1x9x9x3"):
        import_tflite(path, {"serving_default_image:0": (2, 9, 9, 3)})


def test_a_missing_package_is_named(written, monkeypatch):
    def absent(name):
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(frontend.importlib, "import_module", absent)
    with pytest.raises(ModelError, match=r"hago\[tflite\]"):
        import_tflite(written(float_network()))


def test_the_end_of_the_name_tells_the_format(written):
    report = hago.inspect_model(written(float_network()), "x86-vnni")
    assert any("conv2d" in edge.edge for edge in report.edges)
