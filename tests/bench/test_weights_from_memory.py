"""What is measured: the same product, on weights of fewer and fewer bytes."""

import time

import pytest

from hago.hardware.host import missing_features
from hago.hardware.load import load_spec
from tests.bench.weights_from_memory import contestants, measure

pytestmark = pytest.mark.skipif(
    bool(missing_features(load_spec("x86-avx2"))), reason="this CPU has no AVX2"
)


@pytest.fixture(scope="module")
def rivals():
    return {rival.name: rival for rival in contestants(256, 512, 64, total=2**18)}


def test_weights_take_their_bits_and_scales(rivals):
    count, scale = 256 * 512, 4 * 256
    assert rivals["int8"].bytes == count + scale
    assert rivals["int4, per channel"].bytes == count // 2 + scale
    assert rivals["int4, groups of 64"].bytes == count // 2 + 8 * scale


def test_copies_fill_the_memory_that_was_asked_for(rivals):
    for rival in rivals.values():
        assert (rival.copies - 1) * rival.bytes < 2**18 <= rival.copies * rival.bytes


def test_everyone_is_measured_as_often(rivals):
    seconds = measure(list(rivals.values()), 2, time.perf_counter)
    assert len({len(times) for times in seconds.values()}) == 1
    assert all(time > 0 for times in seconds.values() for time in times)
