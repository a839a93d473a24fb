"""A killed reconstruction goes on, in another process, from the last finished block."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hago.methods.ada_quant import AdaQuant
from tests.methods.narrowed import bottleneck, narrowed, stats_of

pytest.importorskip("torch")

STEPS = 150
LAYERS = 4
PROGRAM = f"""
import sys
from hago.methods.ada_quant import AdaQuant
from tests.methods.narrowed import bottleneck, narrowed, stats_of

module = bottleneck()
AdaQuant(steps={STEPS}, cache=sys.argv[1]).apply(narrowed(module, 4), stats_of(module))
"""


def kill_after_blocks(folder: Path, count: int) -> None:
    """Runs PROGRAM until ``count`` blocks are in ``folder``, then kills it where it stands."""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], cwd=root) as process:
        deadline = time.monotonic() + 120
        while len(list(folder.glob("*.npz"))) < count:
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()


def test_only_what_was_not_finished_is_learned_and_the_result_is_the_same(tmp_path, monkeypatch):
    kill_after_blocks(tmp_path, 2)
    kept = len(list(tmp_path.glob("*.npz")))
    assert 2 <= kept < LAYERS
    solved, solve = [], AdaQuant._solve

    def counted(self, model, data):
        solved.append(data.block.layers[0])
        return solve(self, model, data)

    monkeypatch.setattr(AdaQuant, "_solve", counted)
    module = bottleneck()
    method, model, stats = AdaQuant(steps=STEPS), narrowed(module, 4), stats_of(module)
    resumed = AdaQuant(steps=STEPS, cache=str(tmp_path)).apply(model, stats)
    assert len(solved) == LAYERS - kept
    whole = method.apply(model, stats)
    for edge, codes in whole.weights.items():
        np.testing.assert_array_equal(resumed.weights[edge], codes)
