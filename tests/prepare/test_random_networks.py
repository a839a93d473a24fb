"""Whatever a network is made of, prepare keeps what it computes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hago.frontend.onnx import import_onnx
from hago.prepare import prepare
from hago.realize import interpret
from tests.networks import Network, networks, results, save_network
from tests.onnx_models import EPSILON, normal, reference


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_a_prepared_network_computes_what_the_file_says(data: st.DataObject) -> None:
    net: Network = data.draw(networks())
    outputs = data.draw(results(net))
    with tempfile.TemporaryDirectory() as folder:
        path = save_network(Path(folder) / "m.onnx", net, outputs)
        module = prepare(import_onnx(path))
        x = normal(*net.shapes["x"], seed=3)
        expected = reference(path, {"x": x})
    found = interpret(module, {"x": x})
    for wanted, got in zip(expected, found, strict=True):
        # At most 8 layers of sums of at most 150 products, each rounding by an epsilon of values
        # that stay within 16 times the result (or 1, which is what constants are about).
        bound = 8 * 150 * 16 * EPSILON / 2 * max(float(np.abs(wanted).max()), 1.0)
        assert got.shape == wanted.shape
        assert float(np.abs(got - wanted).max()) <= bound


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_preparing_twice_changes_nothing(data: st.DataObject) -> None:
    net: Network = data.draw(networks())
    with tempfile.TemporaryDirectory() as folder:
        path = save_network(Path(folder) / "m.onnx", net, data.draw(results(net)))
        module = prepare(import_onnx(path))
    assert prepare(module).script() == module.script()
