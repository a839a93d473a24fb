"""Range methods: what each one keeps and what it clips."""

import numpy as np
import pytest

from hago.calibrate.observers import TensorObserver
from hago.calibrate.ranges import RANGE_METHODS, choose_range
from hago.errors import StrategyError
from hago.scheme import INT4, INT8, INT16, UINT8, QuantScheme, fill_scheme

SIGNED, ASYMMETRIC = QuantScheme(INT8), QuantScheme(UINT8, symmetric=False)
INT4_SCHEME = QuantScheme(INT4)


def stats_of(*samples):
    observer = TensorObserver()
    for sample in samples:
        observer.observe(np.asarray(sample, np.float32))
    return observer.stats()


def error_of(values, scheme, method):
    low, high = choose_range(stats_of(values), scheme, method)
    quant = fill_scheme(scheme, np.float64(low), np.float64(high))
    return float(np.mean(np.square(quant.decode(quant.encode(values)) - values)))


@pytest.fixture
def heavy_tailed():
    return np.random.default_rng(0).laplace(size=200_000).astype(np.float32)


def test_minmax_keeps_the_extremes_of_all_samples():
    assert choose_range(stats_of([-1, 2], [-3, 1]), SIGNED, "minmax") == (-3.0, 2.0)


def test_mean_takes_the_mean_of_the_samples_extremes():
    assert choose_range(stats_of([-1, 2], [-3, 1]), SIGNED, "mean") == (-2.0, 1.5)


def test_percentile_drops_a_lone_outlier():
    values = np.append(np.linspace(-1, 1, 100_000), 1000.0)
    low, high = choose_range(stats_of(values), ASYMMETRIC, "percentile")
    # The outlier makes bins of width 1 (1001 / 2048 rounded up): one bin around the rest.
    assert -1.0 <= low < 0 < high <= 1.0


def test_a_symmetric_percentile_cuts_magnitudes():
    values = np.concatenate((np.zeros(90_000), np.full(10_000, -2.0), [1.0]))
    low, high = choose_range(stats_of(values), SIGNED, "percentile")
    assert (low, high) == (pytest.approx(-2.0, abs=2**-9), 1.0)  # within a bin


def test_percentile_keeps_everything_of_few_values():
    assert choose_range(stats_of([-1.0, 0.5, 2.0]), ASYMMETRIC, "percentile")[1] == pytest.approx(
        2.0, abs=2**-9
    )


@pytest.mark.parametrize("scheme", [SIGNED, ASYMMETRIC, INT4_SCHEME], ids=str)
def test_mse_is_no_worse_than_minmax_on_the_data_itself(heavy_tailed, scheme):
    assert error_of(heavy_tailed, scheme, "mse") <= error_of(heavy_tailed, scheme, "minmax")


def test_mse_clips_a_normal_tensor_to_the_known_optimum_at_four_bits():
    # ACIQ (arXiv 1810.05723): the optimal clip of a normal distribution at 4 bits is 2.55 sigma.
    # Ours has 15 codes instead of 16 and a grid of max/64: 0.2 covers both.
    values = np.random.default_rng(0).normal(size=400_000)
    _, high = choose_range(stats_of(values), INT4_SCHEME, "mse")
    assert abs(high - 2.55) < 0.2


def test_mse_of_a_sparse_tensor_is_not_led_by_its_zeros():
    values = np.concatenate((np.zeros(1_000_000), np.linspace(0, 1, 1000)))
    _, high = choose_range(stats_of(values), ASYMMETRIC, "mse")
    assert high > 0.95


def test_mse_shrinks_both_ends_apart():
    random = np.random.default_rng(0)
    values = np.concatenate((random.uniform(-1, 1, 200_000), [-4.0]))
    low, high = choose_range(stats_of(values), QuantScheme(INT4, symmetric=False), "mse")
    assert -1.5 < low < -0.9
    assert 0.9 < high <= 1.0


def test_kl_clips_a_long_tail_and_not_a_uniform_tensor(heavy_tailed):
    _, high = choose_range(stats_of(heavy_tailed), SIGNED, "kl")
    assert high < 0.9 * np.abs(heavy_tailed).max()
    uniform = np.random.default_rng(0).uniform(-1, 1, 200_000)
    _, high = choose_range(stats_of(uniform), SIGNED, "kl")
    assert high > 0.95


def test_kl_of_one_sided_data_keeps_the_side():
    values = np.random.default_rng(0).exponential(size=100_000)
    low, high = choose_range(stats_of(values), ASYMMETRIC, "kl")
    assert low == pytest.approx(0, abs=1e-3)
    assert 2 < high <= values.max()


@pytest.mark.parametrize("method", RANGE_METHODS)
@pytest.mark.parametrize("values", [[0.0], [3.0, 3.0], [-2.0], [1e-35, 0.0]], ids=str)
def test_every_method_answers_for_degenerate_tensors(method, values):
    stats = stats_of(values)
    low, high = choose_range(stats, ASYMMETRIC, method)
    assert np.isfinite([low, high]).all()
    assert low <= high or stats.low == stats.high


def test_kl_keeps_the_extremes_at_sixteen_bits(heavy_tailed):
    stats = stats_of(heavy_tailed)
    assert choose_range(stats, QuantScheme(INT16), "kl") == (stats.low, stats.high)


def test_an_unknown_method_is_refused_with_a_suggestion():
    with pytest.raises(StrategyError, match="did you mean 'percentile'"):
        choose_range(stats_of([1.0]), SIGNED, "percentiles")
