"""taken_over: what rounding weights does to the mean of a layer is in its bias."""

import numpy as np
import pytest
from tvm import relax

from hago.annotate.biases import biases_of
from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.calibrate.moments import MomentObserver, windows_of
from hago.dataflow import read_dataflow
from hago.methods.obc import Obc
from hago.methods.taken_over import with_means_taken_over
from hago.methods.weight_output import WeightOutput
from hago.realize import insert_qdq
from hago.realize.interpret import interpret
from tests.graphs import Builder
from tests.methods.narrowed import narrowed

op = relax.op


def convolution(groups=1):
    b = Builder(1, 6, 6, 8)
    return b.done(op.add(b.conv("layer", b.input, 8, kernel=3, groups=groups), b.const(8)))


def product():
    b = Builder(1, 6, 8)
    return b.done(op.add(b.dense("layer", b.input, 5), b.const(5)))


LAYERS = {"conv": convolution, "depthwise": lambda: convolution(8), "matmul": product}


def data(module):
    """Samples whose inputs have means of several deviations."""
    shape = [int(extent) for extent in module["main"].params[0].ty.shape]
    random = np.random.default_rng(3)
    means = 4 * random.normal(size=shape[-1])
    return [{"x": (means + random.normal(size=shape)).astype("float32")} for _ in range(12)]


def seen(module, samples):
    """Statistics of all rows that the layer reads."""
    (node,) = (n for n in read_dataflow(module).nodes if n.name == "layer")
    observer = MomentObserver(windows_of(node), 1000)
    for sample in samples:
        observer.observe(sample["x"])
    return Stats({}, len(samples), samples, moments={"layer": observer.moments()})


def with_float_inputs(model):
    """``model`` with only its weights rounded."""
    strategy = {edge: model.strategy[edge] for edge in constant_edges(model.graph)}
    return type(model)(model.graph, strategy, model.quants, model.weights, model.biases)


def errors(model, samples):
    """Quantized less exact results, [rows, channels]."""
    found = insert_qdq(with_float_inputs(model))
    pairs = ((interpret(found, s)[0], interpret(model.graph.module, s)[0]) for s in samples)
    return np.concatenate([(got - exact).reshape(-1, got.shape[-1]) for got, exact in pairs])


@pytest.mark.parametrize("name", LAYERS)
def test_no_channel_is_off_in_the_mean(name):
    module = LAYERS[name]()
    samples, model = data(module), narrowed(module, 3)
    stats = seen(module, samples)
    plain = errors(model, samples)
    found = errors(with_means_taken_over(model, stats.moments), samples)
    assert np.abs(plain.mean(axis=0)).max() > 0.1
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(found.std(axis=0), plain.std(axis=0), rtol=1e-3)


@pytest.mark.parametrize("name", LAYERS)
def test_codes_that_need_not_keep_the_mean_keep_the_rest_better(name, monkeypatch):
    module = LAYERS[name]()
    samples, model = data(module), narrowed(module, 3)
    stats = seen(module, samples)
    found = Obc(damping=1e-4).apply(model, stats)
    assert biases_of(found).keys() == biases_of(model).keys()
    monkeypatch.setattr("hago.methods.taken_over.biases_behind", lambda graph: {})
    alone = Obc(damping=1e-4).apply(model, stats)
    assert np.square(errors(found, samples)).mean() < np.square(errors(alone, samples)).mean()


def test_scales_come_with_biases_for_the_codes_nearest_to_them():
    module = convolution(8)
    samples, model = data(module), narrowed(module, 3)
    found = errors(WeightOutput().apply(model, seen(module, samples)), samples)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-3)
