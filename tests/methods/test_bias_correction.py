"""bias_correction: no channel is off in the mean."""

from dataclasses import replace

import numpy as np
import pytest
from tvm import relax

from hago.accuracy import sqnr_db
from hago.annotate.biases import biases_behind, biases_of
from hago.calibrate import Stats
from hago.errors import DataError
from hago.gradient import over_samples, read_program
from hago.gradient.fake_quantize import model_hooks
from hago.methods.bias_correction import BiasCorrection, certain_share
from hago.methods.value_stream import peak_bytes
from hago.realize import insert_qdq
from hago.realize.interpret import interpret
from tests.graphs import Builder
from tests.methods.narrowed import narrowed

pytest.importorskip("torch")
op = relax.op


def network():
    """Three convolutions with biases; what the last two read is positive, so its mean is not 0."""
    b = Builder(1, 6, 6, 6)
    x = b.input
    for name, groups in (("first", 1), ("second", 12)):
        x = b.emit(f"{name}_bias", op.add(
            b.conv(name, x, 12, padding=1, groups=groups), b.const(12)))
        x = b.emit(f"{name}_relu", op.nn.relu(x))
    return b.done(b.emit("bias", op.add(b.conv("last", x, 8, kernel=1), b.const(8))))  # fmt: skip


def data(count, seed):
    random = np.random.default_rng(seed)
    return [{"x": random.normal(size=(1, 6, 6, 6)).astype("float32")} for _ in range(count)]


GIVEN = Stats({}, 48, data(48, 1))


def results(module, hooks, samples):
    program = read_program(module)
    (name,) = program.outputs
    steps = list(program.steps.values())
    return over_samples(steps, program.feed(samples), hooks, [name])[name].numpy()


def errors(model, samples):
    """Quantized less exact results of the network, [samples, .., channels], and the exact ones."""
    exact = results(network(), {}, samples)
    return results(model.graph.module, model_hooks(model), samples) - exact, exact


@pytest.fixture
def model():
    return narrowed(network(), 3)


def test_no_channel_is_off_in_the_mean_of_the_samples(model):
    corrected, _ = errors(BiasCorrection().apply(model, GIVEN), GIVEN.data)
    plain, _ = errors(model, GIVEN.data)
    assert np.abs(corrected.mean(axis=(0, 1, 2, 3))).max() < 1e-5
    assert np.abs(plain.mean(axis=(0, 1, 2, 3))).max() > 1e-2


def test_results_are_nearer_to_the_float_model_on_other_samples(model):
    # Nagel et al., table 3: what bias correction wins on weights rounded to nearest.
    others = data(48, 2)
    plain, exact = errors(model, others)
    corrected, _ = errors(BiasCorrection().apply(model, GIVEN), others)
    assert sqnr_db(exact, exact + corrected) > sqnr_db(exact, exact + plain) + 1


def test_the_layers_before_are_corrected_first(model):
    before, after = (biases_of(m) for m in (model, BiasCorrection().apply(model, GIVEN)))
    assert len(before) == 3
    assert all((before[e].value != after[e].value).any() for e in before)


def test_the_float_model_is_what_it_was(model):
    """Twice corrected is hardly more than once: what is wanted did not move."""
    once = BiasCorrection().apply(model, GIVEN)
    twice = BiasCorrection().apply(once, GIVEN)
    for edge, bias in once.biases.items():
        np.testing.assert_allclose(twice.biases[edge], bias, atol=1e-3)


def test_only_biases_change(model):
    found = BiasCorrection().apply(model, GIVEN)
    assert (found.quants, found.weights) == (model.quants, model.weights)
    assert found.graph is model.graph


def test_the_exchange_form_has_the_new_biases(model):
    found = BiasCorrection().apply(model, GIVEN)
    sample = GIVEN.data[0]
    (got,) = interpret(insert_qdq(found), sample)
    expected = results(found.graph.module, model_hooks(found), [sample])[0]
    # Sums in another order: a code of an activation in between may be the next one.
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()


def test_it_needs_data(model):
    with pytest.raises(DataError, match="no calibration data"):
        BiasCorrection().apply(model, Stats({}, 0))


def masked_rows():
    """Two layers over six positions, and a mask that none of them reads."""
    b = Builder(1, 6, 8)
    hidden = b.emit("bias", op.add(b.dense("first", b.input, 8), b.const(8)))
    module = b.done(b.emit("bias_1", op.add(b.dense("last", hidden, 8), b.const(8))))
    model, main = narrowed(module, 3), module["main"]
    mask = relax.Var("mask", relax.TensorType((1, 6), "int64"))
    module["main"] = relax.Function([*main.params, mask], main.body, attrs=main.attrs)
    return replace(model, graph=replace(model.graph, module=module))


def biases_by(padding):
    """The biases found from four positions, with two more that hold ``padding``."""
    rows = np.random.default_rng(1).normal(size=(24, 1, 6, 8)).astype("float32")
    rows[:, :, 4:] = padding
    mask = np.array([[1, 1, 1, 1, 0, 0]])
    given = Stats({}, 24, [{"x": row, "mask": mask} for row in rows], mask="mask")
    found = BiasCorrection().apply(masked_rows(), given)
    return list(found.biases.values())


def test_padding_teaches_nothing():
    # Values far outside of every range: all of them are clipped, so their mean is far off.
    for far, near in zip(biases_by(1000.0), biases_by(0.0), strict=True):
        np.testing.assert_array_equal(far, near)


def shifts(model, given, **options):
    """What the first bias moves by, [channels]."""
    found = BiasCorrection(**options).apply(model, given)
    first = next(iter(biases_behind(model.graph).values()))
    return (found.biases[first.edge] - first.value).reshape(-1)


def test_what_all_samples_have_in_common_is_no_chance(model):
    same = Stats({}, 8, data(1, 1) * 8)
    np.testing.assert_allclose(shifts(model, same, shrink=True), shifts(model, same), rtol=1e-5)


@pytest.mark.parametrize("spread", [0.0, 0.2, 0.5, 2.0])
def test_shrunk_means_are_nearer_to_the_truth(spread):
    """Than the means themselves, and than taking nothing out: Efron and Morris, section 2."""
    random = np.random.default_rng(7)
    truth = random.normal(0, 1, 400) * spread
    counts = random.integers(20, 60, 32)
    noise = random.normal(0, 1, (32, 400)) * np.linspace(1, 3, 400)  # a sample's own error
    sums = (truth + noise) * counts[:, None]
    mean = sums.sum(axis=0) / counts.sum()
    share = certain_share(sums, counts)
    found, plain, nothing = (
        np.square(each - truth).mean() for each in (share * mean, mean, np.zeros_like(mean))
    )
    assert share.min() >= 0
    assert share.max() <= 1
    assert found <= 1.1 * nothing
    assert found < plain


def test_one_sample_says_nothing_about_others(model):
    assert not shifts(model, Stats({}, 1, data(1, 1)), shrink=True).any()


def test_where_values_are_large_fewer_samples_are_looked_at(model, monkeypatch):
    few = BiasCorrection(samples=3).apply(model, GIVEN).biases
    sizes = [peak_bytes(model.graph.module), peak_bytes(insert_qdq(model))]
    image = 6 * 6 * 12 * 4
    assert sizes[0] == 2 * image  # what an addition reads and gives
    assert sizes[1] == 2 * image  # only weights are rounded
    monkeypatch.setattr("hago.methods.value_stream._MOST_BYTES", int(3.5 * sum(sizes)))
    found = BiasCorrection().apply(model, GIVEN).biases
    for edge, bias in few.items():
        np.testing.assert_array_equal(found[edge], bias)
    monkeypatch.setattr("hago.methods.value_stream._MOST_BYTES", 1)
    assert BiasCorrection().apply(model, GIVEN).biases.keys() == few.keys()


def test_an_operation_that_nothing_quantizes_is_no_obstacle():
    """Normalization over groups of channels has no table of ours."""
    b = Builder(1, 6, 6, 6)
    first = b.emit("first_bias", op.add(b.conv("first", b.input, 8, padding=1), b.const(8)))
    one, zero = (relax.const(np.full(8, value, "float32")) for value in (1, 0))
    normal = b.emit("normal", op.nn.group_norm(first, one, zero, 2, channel_axis=3, axes=[1, 2]))
    module = b.done(b.emit("bias", op.add(b.conv("last", normal, 4), b.const(4))))
    samples = GIVEN.data[:8]
    model = narrowed(module, 3)
    corrected = BiasCorrection().apply(model, Stats({}, 8, samples))
    exact = np.stack([interpret(module, each)[0] for each in samples])

    def mean_error(found):
        actual = np.stack([interpret(insert_qdq(found), each)[0] for each in samples])
        return np.abs((actual - exact).mean(axis=(0, 1, 2, 3))).max()

    assert mean_error(corrected) < 0.1 * mean_error(model)
