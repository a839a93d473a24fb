"""What is said of auto beside the precisions alone, on latencies that are given."""

from __future__ import annotations

import numpy as np
import pytest

from hago.kernel_search.turns import Rounds
from tests.zoo.precisions import compare


def test_auto_is_compared_with_the_fastest_of_the_others():
    rounds = Rounds(np.array([[1.1, 1.0, 2.0], [1.2, 1.0, 2.0], [1.3, 1.0, 2.0]]) * 1e-3)
    found = compare(rounds, ["int8", "float32"], "mixed")
    assert (found.best, found.taken) == ("int8", "mixed")
    assert found.ratio == pytest.approx(1.2)
    assert found.latency_ms == pytest.approx({"auto": 1.2, "int8": 1.0, "float32": 2.0})


def test_what_strikes_a_whole_round_changes_no_ratio():
    """A round in which the machine was busy is slower for all."""
    quiet = [0.9, 2.0, 1.0]
    rounds = Rounds(np.array([quiet, [10 * each for each in quiet], quiet]) * 1e-3)
    found = compare(rounds, ["int8", "float32"], "mixed")
    assert found.ratio == pytest.approx(0.9)
    assert found.quartiles == pytest.approx((0.9, 0.9))
