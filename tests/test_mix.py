"""Precisions mixed by the latencies of kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hago
from hago import mix
from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import BatchMatmul
from hago.hardware.host import host_spec, missing_features
from hago.hardware.load import load_spec
from hago.lower.calls import KernelCall
from hago.model import run_on
from hago.pipeline import Options, compile_model, prepared_module
from hago.realize import interpret, realize
from tests.codegen.test_attention import of_floats
from tests.graphs import input_for, quantized, residual_network
from tests.onnx_models import three_convolutions
from tests.search.stand_ins import MACHINE, network, samples

MOVED = 12e6  # bytes in a ms


@pytest.fixture(scope="module")
def model():
    module = residual_network()
    return quantized(module, load_spec("x86-vnni"), input_for(module))


def latencies(model, **times):
    """A millisecond for each operation that reads codes, but for those of ``times``."""
    names = {edge.dst for edge in model.strategy}
    return {**dict.fromkeys(names, 1.0), **times}


def test_what_is_faster_in_float_is_raised_and_nothing_else(model):
    low, floats = latencies(model, conv2d_1=3.0), latencies(model, conv2d=0.99)
    (found,) = mix.find_raises(model, low, floats, MOVED)
    assert {edge.dst for edge in found.group.edges} >= {"conv2d_1", "conv2d_2"}  # tied: they add
    assert (found.low_ms, found.float_ms) == (3.0 + 1.0, 1.0 + 1.0)


def test_a_gain_that_nobody_would_notice_is_left(model):
    low = latencies(model, conv2d_1=1e-3, conv2d=10.0)
    assert not mix.find_raises(model, low, latencies(model, conv2d_1=5e-4, conv2d=20.0), MOVED)


def test_what_its_neighbours_would_lose_is_counted(model):
    """A tensor of 1 x 8 x 8 x 8 codes takes 1.5 KiB more in float32."""
    low = {name: 1e-3 * time for name, time in latencies(model, conv2d_1=1.2).items()}
    floats = {name: 1e-3 * time for name, time in latencies(model).items()}
    assert low["conv2d_1"] > floats["conv2d_1"]
    assert not mix.find_raises(model, low, floats, MOVED)


def test_faster_memory_makes_that_less(model):
    low = {name: 1e-3 * time for name, time in latencies(model, conv2d_1=1.2).items()}
    floats = {name: 1e-3 * time for name, time in latencies(model).items()}
    assert len(mix.find_raises(model, low, floats, 100 * MOVED)) == 1


def test_the_speed_of_memory_is_measured():
    """Bytes in a ms: more than a disk has, less than a terabyte in a second."""
    assert 1e5 < mix.moved_per_ms(load_spec(MACHINE)) < 1e9


def test_what_was_not_measured_stays(model):
    low = latencies(model, conv2d_1=3.0)
    floats = {name: time for name, time in latencies(model).items() if name != "conv2d_1"}
    assert not mix.find_raises(model, low, floats, MOVED)


def test_a_raised_group_is_computed_in_float(model):
    low, floats = latencies(model, conv2d_1=3.0), latencies(model)
    found = mix.raised(model, mix.find_raises(model, low, floats, MOVED))
    assert not any(edge.dst == "conv2d_1" for edge in found.strategy)
    assert any(edge.dst == "conv2d" for edge in found.strategy)
    sample = input_for(model.graph.module)
    exact = np.asarray(interpret(model.graph.module, sample)[0])
    errors = [
        np.abs(np.asarray(interpret(realize(each), sample)[0]) - exact).mean()
        for each in (model, found)
    ]
    assert errors[1] < errors[0]


def test_an_attentions_time_is_shared_by_its_products(monkeypatch):
    work, epilogue = of_floats(1, 2, 8, 8, 4, 4, (None, None, None), ())
    plain = BatchMatmul(1, 8, 8, 4)
    calls = [
        KernelCall("attention", frozenset({"scores", "contexts"}), (), work, epilogue),
        KernelCall("product", frozenset({"alone"}), (), plain, Epilogue("float32", "float32")),
    ]
    monkeypatch.setattr(mix, "time_kernels", lambda *_: {"attention": 3.0, "product": 2.0})
    found = mix.operation_latencies(Path(), calls, 1)
    assert found == {"scores": 1.5, "contexts": 1.5, "alone": 2.0}


def slow_convolution(monkeypatch):
    """Compilations take the mix, and find the second convolution slow in int8, nothing else."""
    measured = mix.time_kernels

    def slow_in_int8(folder, calls, threads):
        """As if the second convolution had no good kernel in int8: what is measured is only run,
        for on a busy machine any layer may be measured as slower than its float32."""
        if folder.name != "int8":
            return dict.fromkeys(measured(folder, calls, threads), 2.0)
        slow = {c.function for c in calls if "conv2d_1" in c.operations}
        return {n: 10.0 if n in slow else 1.0 for n in measured(folder, calls, threads)}

    monkeypatch.setattr(mix, "time_kernels", slow_in_int8)
    monkeypatch.setattr(hago.pipeline, "fastest", lambda contestants: 0)


runs_here = pytest.mark.skipif(
    bool(missing_features(load_spec(MACHINE))), reason=f"needs {MACHINE}"
)


@runs_here
def test_compile_builds_the_mix_and_says_what_was_measured(tmp_path, monkeypatch):
    slow_convolution(monkeypatch)
    data = [{"x": np.random.default_rng(i).normal(size=(1, 4, 8, 8)).astype("f4")} for i in (1, 2)]
    report = compile_model(network(tmp_path / "m.onnx"), MACHINE, data, tmp_path / "out", Options())
    assert report.precision == "mixed"
    assert {contestant.name for contestant in report.slower} == {"int8"}
    edge = next(e for e in report.edges if e.edge.endswith("conv2d_1[1]"))
    assert edge.chosen == "float32"
    assert edge.reason.startswith("measured: conv2d_1 takes ")
    assert hago.load(tmp_path / "out").run(data[0])["y"].shape == (1, 5)


@runs_here
def test_what_the_recipe_corrected_is_corrected_for_the_mix(tmp_path, monkeypatch):
    slow_convolution(monkeypatch)
    model = three_convolutions(tmp_path / "m.onnx")
    data = samples()

    def errors(recipe):
        """What is wrong in the mean of each channel, over what is wrong."""
        report = compile_model(model, MACHINE, data, tmp_path / recipe[-1], Options(recipe=recipe))
        assert report.precision == "mixed"
        run, exact = (
            hago.load(tmp_path / recipe[-1]).run,
            run_on(prepared_module(model, {}), host_spec()),
        )
        wrong = np.concatenate([run(each)["y"] - exact(each)["y"] for each in data])
        return np.abs(wrong.mean(axis=(0, 2, 3), dtype=np.float64)).max() / wrong.std()

    # The last layer's bias takes the whole mean error over; what is left is float32's rounding.
    assert errors(("mse", "bias_correction")) < 1e-3 < errors(("mse",))
