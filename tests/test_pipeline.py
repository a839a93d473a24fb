"""The functions that build scripts call."""

import hago
from hago.demo import digits_model
from hago.hardware.host import host_spec
from hago.pipeline import Options


def test_files_and_folders_may_be_given_as_text(tmp_path):
    machine, folder = host_spec().name, str(tmp_path / "artifact")
    model = str(digits_model())
    report = hago.inspect_model(model, machine)
    hago.compile_model(model, machine, None, folder, Options("float32"))
    assert hago.load(folder).manifest.model == report.model == "digits.onnx"
    edge = report.edges[0].edge
    assert hago.explain_edge(folder, edge).edge == edge
