"""Whatever a network is made of, prepare keeps what it computes."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hago.dataflow import read_dataflow
from hago.frontend.onnx import import_onnx
from hago.prepare import prepare
from hago.prepare.channel_groups import channel_groups, order_channels
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
    assert_computes(expected, interpret(module, {"x": x}))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_a_network_computes_the_same_with_channels_in_another_order(data: st.DataObject) -> None:
    net: Network = data.draw(networks())
    with tempfile.TemporaryDirectory() as folder:
        path = save_network(Path(folder) / "m.onnx", net, data.draw(results(net)))
        module = prepare(import_onnx(path))
    orders = {
        group: np.random.default_rng(1).permutation(group.size)
        for group in channel_groups(read_dataflow(module))
    }
    x = {"x": normal(*net.shapes["x"], seed=3)}
    assert_computes(interpret(module, x), interpret(order_channels(module, orders), x))


def assert_computes(expected: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> None:
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
