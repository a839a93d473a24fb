"""What a contestant takes of a process of its own."""

import sys

import numpy as np
import pytest

from tests.bench.alone import measure_alone, watch
from tests.bench.contestant import Name, Task
from tests.deploy.models import write_two_headed

MEBI = 1 << 20
SAMPLE = {"image": np.ones((1, 4), np.float32), "ids": np.ones((1, 3), np.int64)}
GROWS = """
import json, time
from tests.bench.alone import begin, end, private_bytes

begin()
before, kept = private_bytes(), b"a" * (8 << 20)
let_go = b"b" * (32 << 20)
time.sleep(0.2)  # memory is looked at from time to time
del let_go
end()
later = b"c" * (128 << 20)
print(json.dumps({"kept": private_bytes() - before}))
"""


def task(folder):
    return Task("two", folder / "two.onnx", SAMPLE, [], folder, threads=1, machine=None)


def test_memory_counts_that_is_let_go_before_the_end_and_none_after_it():
    told, peak = watch([sys.executable, "-c", GROWS])
    assert told["kept"] >= 136 * MEBI
    assert 40 * MEBI <= peak < 128 * MEBI


def test_an_artifact_is_loaded_in_a_process_that_did_nothing_else(tmp_path):
    folder = write_two_headed(tmp_path / "out")
    found = measure_alone(Name("hago", "int8"), task(tmp_path), folder)
    assert 0 < found.private <= found.peak_private
    assert found.load_ms > 0
    assert found.load_cpu_ms > 0


def test_a_contestant_that_fails_alone_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="not an artifact"):
        measure_alone(Name("hago", "int8"), task(tmp_path), tmp_path)
