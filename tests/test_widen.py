"""Weights of 7 bits become 8 where the machine multiplies these, too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hago
from hago import mix
from hago.annotate.constants import constant_edges
from hago.hardware.host import missing_features
from hago.hardware.load import load_spec, spec_folder
from hago.pipeline import Options, compile_model
from hago.realize import interpret, realize
from hago.widen import widened
from tests.graphs import input_for, quantized, residual_network
from tests.search.stand_ins import MACHINE, network, samples


def on(machine):
    module = residual_network()
    return quantized(module, load_spec(machine), input_for(module))


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """A specification of this machine in which the saturating product takes 7 bits."""
    text = (spec_folder() / f"{MACHINE.replace('-', '_')}.py").read_text()
    text = text.replace("s8.paired.per_channel", "s7.per_channel").replace(" s8,", " s7, s8,", 1)
    file = tmp_path_factory.mktemp("spec") / "narrow.py"
    file.write_text(text)
    return file


@pytest.fixture(scope="module")
def model(narrow):
    return on(narrow)


def weights_of(model):
    return {edge: str(s.dtype) for edge, s in model.strategy.items() if edge.is_constant}


def test_weights_get_all_bits_that_the_machine_multiplies_by_the_same_data(model):
    wide = widened(model)
    assert "int7" in weights_of(model).values()
    assert set(weights_of(wide).values()) == {"int8"}
    data = [edge for edge in model.strategy if not edge.is_constant]
    assert all(wide.quants[edge] is model.quants[edge] for edge in data)


def test_outputs_are_closer_to_float(model):
    sample = input_for(model.graph.module)
    exact = np.asarray(interpret(model.graph.module, sample)[0])
    errors = [
        np.square(np.asarray(interpret(realize(each), sample)[0]) - exact).mean()
        for each in (model, widened(model))
    ]
    assert errors[1] < errors[0]


def test_codes_that_a_method_chose_stand_for_the_same_weights(model):
    floats = constant_edges(model.graph)
    edge = next(iter(weights_of(model)))
    chosen = model.codes(edge, floats[edge])[..., ::-1]  # not the nearest ones
    wide = widened(replace(model, weights={edge: chosen}))
    values = [m.quants[edge].decode(c) for m, c in ((model, chosen), (wide, wide.weights[edge]))]
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("machine", ["x86-vnni", "x86-avx2"])
def test_weights_that_have_all_bits_stay(machine):
    assert widened(on(machine)) is None


@pytest.mark.skipif(bool(missing_features(load_spec(MACHINE))), reason=f"needs {MACHINE}")
def test_compile_takes_more_bits_where_they_are_faster_and_says_so(tmp_path, monkeypatch, narrow):
    measured = mix.time_kernels

    def as_if(folder, calls, threads):
        """The second convolution is fast on weights of 8 bits, and slow otherwise."""
        found = dict(measured(folder, calls, threads))
        second = {c.function for c in calls if "conv2d_1" in c.operations}
        took = 1.0 if "wider" in folder.name else 10.0
        return {name: took if name in second else time for name, time in found.items()}

    monkeypatch.setattr(mix, "time_kernels", as_if)
    monkeypatch.setattr(hago.pipeline, "fastest", lambda contestants: 0)
    file, data = network(tmp_path / "m.onnx"), samples(2)
    report = compile_model(file, narrow, data, tmp_path / "out", Options(recipe="mse"))
    assert report.precision == "mixed"
    chosen = {edge.edge: edge for edge in report.edges}
    wide = chosen["conv2d_1.weight -> conv2d_1[1]"]
    assert wide.chosen.startswith("int8")
    assert wide.reason.startswith("measured: conv2d_1 takes 1e+03 us in int8 with weights of more")
    assert chosen["conv2d_2.weight -> conv2d_2[1]"].chosen.startswith("int7")
    assert hago.load(tmp_path / "out").run(data[0])["y"].shape == (1, 5)
