"""Models in 8-bit floats, with weights stored as codes, run in onnxruntime as they are written."""

import pytest

from hago.accuracy import sqnr_db
from hago.export.onnx import export_onnx
from hago.realize import insert_qdq, interpret
from tests.graphs import input_for
from tests.test_float8_model import dense, narrow

ort = pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("group", [None, 16])
def test_values_are_rounded_by_casts(group, tmp_path):
    module = dense()
    data = input_for(module)
    names = {"hago.input_names": ["x"], "hago.output_names": ["y"]}
    qdq = insert_qdq(narrow(module, group))
    qdq["main"] = qdq["main"].with_attrs(names)
    export_onnx(qdq, tmp_path / "net.onnx")
    (expected,) = interpret(qdq, data)
    (actual,) = ort.InferenceSession(tmp_path / "net.onnx").run(None, data)
    # float32 sums of 64 products in another order: 24 bits are 144 dB, less 6 for each 4 products.
    assert sqnr_db(expected, actual) > 100
