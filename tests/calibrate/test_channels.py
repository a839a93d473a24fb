"""Statistics of channels."""

import numpy as np

from hago.calibrate.channels import ChannelObserver, observe_channels
from hago.calibrate.padding import Look


def test_a_channel_has_its_own_extremes_and_moments():
    observer = ChannelObserver()
    observer.observe(np.float32([[1, -2], [3, 0]]))
    observer.observe(np.float32([[[2, 5]]]))
    stats = observer.stats()
    assert stats.low.tolist() == [1.0, -2.0]
    assert stats.high.tolist() == [3.0, 5.0]
    assert stats.mean.tolist() == [2.0, 1.0]
    assert stats.square.tolist() == [14 / 3, 29 / 3]
    assert stats.reach.tolist() == [3.0, 5.0]


def test_a_few_samples_are_spread_over_the_data():
    seen = []

    def run(sample):
        seen.append(float(sample["x"][0]))
        return sample

    samples = [{"x": np.float32([number])} for number in range(10)]
    observe_channels(Look(run), samples, ["x"], limit=3)
    assert seen == [0.0, 3.0, 6.0]


def test_few_samples_are_all_taken():
    samples = [{"x": np.float32([1, 5])}, {"x": np.float32([2, 4])}]
    stats = observe_channels(Look(lambda sample: sample), samples, ["x"], limit=32)
    assert stats["x"].mean.tolist() == [1.5, 4.5]
