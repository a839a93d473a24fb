"""GPTAQ rounds what a layer must be after the quantized layers before it."""

from dataclasses import replace

import numpy as np
import pytest
from tvm import relax

from hago.annotate.biases import biases_of
from hago.annotate.constants import constant_edges
from hago.gradient import over_samples, read_program
from hago.gradient.fake_quantize import model_hooks
from hago.methods.ada_round import AdaRound
from hago.methods.gptaq import RIDGES, Gptaq, corrected
from hago.methods.gptq import Gptq
from hago.methods.layer_rows import LayerRows
from tests.graphs import Builder, attention
from tests.methods.narrowed import bottleneck, fidelity, narrowed, nearest_fidelity, stats_of

torch = pytest.importorskip("torch")


def rows_of(exact, quantized):
    same = (lambda sums: sums,) * 2
    return LayerRows(exact, quantized, lambda w: w[None], lambda r: r[0], *same)


def normal(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_inputs_that_lost_half_their_size_get_twice_the_weight():
    exact, weight = normal(1, 500, 6, seed=0), normal(4, 6, seed=1)
    wanted = corrected(rows_of(exact, exact / 2), weight, (1e-12, 1.0))
    np.testing.assert_allclose(wanted[0], 2 * weight.numpy(), rtol=1e-6)


def test_unchanged_inputs_change_nothing():
    exact, weight = normal(1, 50, 6, seed=0), normal(4, 6, seed=1)
    np.testing.assert_array_equal(corrected(rows_of(exact, exact), weight)[0], weight.numpy())


def test_noise_is_not_learned_by_heart():
    """40 rows of 60 inputs whose noise tells nothing: the least squares would fit all of it."""
    exact, weight = normal(1, 40, 60, seed=0), normal(4, 60, seed=1)
    quantized = exact + normal(1, 40, 60, seed=2)
    fresh, noise = normal(1, 4000, 60, seed=3), normal(1, 4000, 60, seed=4)

    def error(ridges):
        wanted = torch.from_numpy(corrected(rows_of(exact, quantized), weight, ridges))
        target = fresh.double() @ weight.double().T
        return float((target - (fresh + noise).double() @ wanted.transpose(1, 2)).square().mean())

    assert error(RIDGES) < error(RIDGES[:1])


@pytest.mark.parametrize("build", [bottleneck, attention])
def test_outputs_are_nearer_to_the_float_model_than_by_rounding_to_nearest(build):
    module = build()
    found = Gptaq().apply(narrowed(module, 3), stats_of(module))
    assert fidelity(found) > nearest_fidelity(build, 3)


def test_a_narrow_depthwise_layer_is_mended_by_the_next():
    """The published order, on a bottleneck with weights of 3 bits (GPTAQ, table 1)."""
    module = bottleneck()
    model, stats = narrowed(module, 3), stats_of(module)
    assert fidelity(Gptaq(shares=0).apply(model, stats)) > fidelity(Gptq().apply(model, stats))


def test_groups_of_weights_keep_their_scales():
    module = attention()
    model = narrowed(module, 4, group=4)
    found = Gptaq().apply(model, stats_of(module))
    assert fidelity(found) > fidelity(model)
    for edge in constant_edges(model.graph):
        if "per group" in str(model.strategy[edge]) and edge in model.quants:
            np.testing.assert_array_equal(found.quants[edge].scale, model.quants[edge].scale)


def with_biases():
    """A depthwise convolution between two layers, each with a bias, the first two with a ReLU."""
    b = Builder(1, 6, 6, 6)
    wide = relax.op.add(b.conv("expand", b.input, 12, kernel=1), b.const(12))
    wide = b.emit("relu", relax.op.nn.relu(b.emit("wide", wide)))
    deep = relax.op.add(b.conv("depthwise", wide, 12, padding=1, groups=12), b.const(12))
    deep = b.emit("relu_1", relax.op.nn.relu(b.emit("deep", deep)))
    return b.done(relax.op.add(b.conv("last", deep, 8, kernel=1), b.const(8)))


def outputs(model, stats, hooks):
    program = read_program(model.graph.module)
    feed = program.feed(list(stats.data))
    return over_samples(list(program.steps.values()), feed, hooks, program.outputs)


def test_the_biases_take_what_the_codes_get_wrong_in_the_mean():
    module = with_biases()
    stats = stats_of(module)
    found = Gptaq().apply(narrowed(module, 2), stats)
    exact, learned = (
        outputs(narrowed(module, 2), stats, {}),
        outputs(found, stats, model_hooks(found)),
    )
    for name, wanted in exact.items():
        error = (learned[name] - wanted).reshape(-1, wanted.shape[-1])
        assert float(error.mean(0).abs().max()) < 0.05 * float(error.std())


def test_a_finished_layer_brings_its_bias_along(tmp_path):
    module = with_biases()
    model, stats = narrowed(module, 3), stats_of(module)
    first = Gptaq(cache=str(tmp_path)).apply(model, stats)
    again = Gptaq(cache=str(tmp_path)).apply(model, stats)
    assert set(first.biases) == {bias.edge for bias in biases_of(model).values()}
    assert first.biases.keys() == again.biases.keys()
    for edge, bias in first.biases.items():
        np.testing.assert_array_equal(bias, again.biases[edge])


def test_a_method_behind_it_rounds_for_the_biases_that_there_are():
    """Codes for the float model's biases beside those of gptaq's codes would be off in the mean."""
    module = with_biases()
    stats = stats_of(module)
    found = Gptaq().apply(narrowed(module, 2), stats)
    behind = AdaRound(steps=200).apply(found, stats)
    alone = AdaRound(steps=200).apply(narrowed(module, 2), stats)
    assert behind.biases == found.biases
    assert fidelity(behind) > fidelity(replace(alone, biases=found.biases))
