"""Models in 8-bit floats, with weights stored as codes, run in onnxruntime as they are written."""

import pytest

from hago.accuracy import sqnr_db
from hago.export.onnx import export_onnx
from hago.realize import insert_qdq, interpret
from tests.graphs import attention, input_for, residual_network
from tests.realize.test_float8 import in_float8
from tests.test_float8_model import dense, narrow

ort = pytest.importorskip("onnxruntime")


def both(module, data, folder):
    """What ``module`` means, and what onnxruntime computes of it."""
    names = {"hago.input_names": ["x"], "hago.output_names": ["y"]}
    module["main"] = module["main"].with_attrs(names)
    export_onnx(module, folder / "net.onnx")
    (expected,) = interpret(module, data)
    (actual,) = ort.InferenceSession(folder / "net.onnx").run(None, data)
    return expected, actual


@pytest.mark.parametrize("group", [None, 16])
def test_values_are_rounded_by_casts(group, tmp_path):
    module = dense()
    expected, actual = both(insert_qdq(narrow(module, group)), input_for(module), tmp_path)
    # float32 sums of 64 products in another order: 24 bits are 144 dB, less 6 for each 4 products.
    assert sqnr_db(expected, actual) > 100


@pytest.mark.parametrize("build", [residual_network, attention])
def test_weights_and_images_of_eight_bits_are_written(build, tmp_path):
    module = build()
    expected, actual = both(insert_qdq(in_float8(module)), input_for(module), tmp_path)
    assert sqnr_db(expected, actual) > 60  # a code at a tie
