"""The functions that build scripts call."""

import numpy as np

import hago
from hago.demo import digits_model
from hago.hardware.host import host_spec
from hago.pipeline import Options
from tests.onnx_models import node, normal, reference, save


def test_files_and_folders_may_be_given_as_text(tmp_path):
    machine, folder = host_spec().name, str(tmp_path / "artifact")
    model = str(digits_model())
    report = hago.inspect_model(model, machine)
    hago.compile_model(model, machine, None, folder, Options("float32"))
    assert hago.load(folder).manifest.model == report.model == "digits.onnx"
    edge = report.edges[0].edge
    assert hago.explain_edge(folder, edge).edge == edge


def test_a_number_is_an_input_and_what_sorts_a_result(tmp_path):
    sort = node("TopK", "z n", "y i", axis=-1)
    nodes = [node("Mul", "x k", "z"), sort, node("Cast", "i", "j", to=1)]
    inputs = {"x": (4, 8), "k": ()}
    model = save(tmp_path / "m.onnx", nodes, inputs, {"n": np.array([3])}, outputs="y j")
    hago.compile_model(model, host_spec().name, None, tmp_path / "out", Options("float32"))
    loaded, sample = hago.load(tmp_path / "out"), {"x": normal(4, 8), "k": np.array(2, np.float32)}
    assert loaded.inputs[1].shape == ()
    for found, expected in zip(loaded.run(sample).values(), reference(model, sample), strict=True):
        assert np.array_equal(found, expected)
