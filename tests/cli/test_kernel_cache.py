"""hago compile --tune-kernels: races, a cache of winners, and a way to build without it."""

import json
from concurrent.futures import Future

import pytest

from hago.deploy.load import load
from hago.deploy.manifest import read_manifest
from hago.hardware.load import load_spec
from hago.lower.select import schedules
from hago.search.cache import Cache, default_cache
from hago.search.winners import Winner, kernel_key, open_winners
from tests.cli.program import MACHINE, parts_of
from tests.onnx_models import normal


@pytest.fixture
def compiled(hago_program, model, data, tmp_path):
    def run(name, *options):
        folder = tmp_path / name
        outcome = hago_program("compile", model, "--hw", MACHINE, "--data", data, "-o", folder,
                               "--precision", "int8", "--recipe", "minmax", *options)  # fmt: skip
        assert outcome.code == 0, outcome.err
        return folder, outcome.out

    return run


@pytest.fixture
def others_win(monkeypatch):
    """The last schedule of each kernel that is looked up becomes its winner."""
    winners = open_winners(Cache(default_cache("kernels")), load_spec(MACHINE), 1)

    def key(workload, epilogue, machine):
        found = kernel_key(workload, epilogue, machine)
        if len(offered := schedules(workload, machine)) > 1:
            winners.cache.put(found, vars(Winner(str(offered[-1]), 2.0, 1.0)))
        return found

    monkeypatch.setattr("hago.search.winners.kernel_key", key)


def test_kernels_are_raced_and_what_was_learned_is_kept(compiled):
    _, out = compiled("first", "--tune-kernels", "1m", "--json")
    tuned = json.loads(out)["tuning"]["kernels"]
    (kernel,) = tuned  # the last product has one row, and one tile
    assert not kernel["is_from_cache"]
    assert 0 < kernel["best_us"] <= kernel["default_us"]
    assert len(list(default_cache("kernels").rglob("*.json"))) == 1


def test_a_later_compilation_takes_the_winners_and_says_so(compiled, others_win):
    folder, out = compiled("cached")
    assert "1 kernel from the kernel cache" in out
    plain, out = compiled("plain", "--no-kernel-cache")
    assert "kernel cache" not in out
    digests = [read_manifest(each).library_sha256 for each in (folder, plain)]
    assert digests[0] != digests[1]
    image = normal(1, 3, 8, 8)
    assert (load(folder)(image) == load(plain)(image)).all()


def test_without_the_cache_a_race_is_for_this_compilation_alone(compiled, monkeypatch):
    class Here:
        """A runner without a process of its own."""

        def __init__(self, *_):
            self.close = lambda: None

        def submit(self, call, *args):
            result = Future()
            result.set_result(call(*args))
            return result

    monkeypatch.setattr("hago.kernel_search.network.LocalRunner", Here)
    _, out = compiled("raced", "--tune-kernels", "1m", "--no-kernel-cache", "--json")
    assert len(json.loads(out)["tuning"]["kernels"]) == 1
    assert not default_cache("kernels").exists()


def test_kernels_of_another_computer_cannot_be_raced(hago_program, model, data, tmp_path):
    outcome = hago_program("compile", model, "--hw", "arm-dotprod", "--data", data, "-o",
                           tmp_path / "out", "--tune-kernels", "10s")  # fmt: skip
    assert outcome.code != 0
    assert "kernels for arm-dotprod cannot be raced here" in parts_of(outcome.err)[0]
