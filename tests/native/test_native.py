"""The C++ runner gives what Python gives, and refuses what Python refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hago.deploy.load import load
from tests.deploy.models import write_two_headed

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    not (shutil.which("cmake") and shutil.which("c++")), reason="needs cmake and a C++ compiler"
)


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    configure = ["cmake", "-S", ROOT, "-B", folder, f"-DPython3_EXECUTABLE={sys.executable}"]
    for command in (configure, ["cmake", "--build", folder]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "hago-run"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return write_two_headed(tmp_path_factory.mktemp("artifact") / "two")


@pytest.fixture
def arrays(tmp_path):
    """Options that give both inputs, and what was given."""
    sample = {"image": np.float32([[1, -2, 3.5, 0]]), "ids": np.int64([[7, 8, 9]])}
    options = []
    for name, array in sample.items():
        np.save(tmp_path / f"{name}.npy", array)
        options += ["--input", f"{name}={tmp_path / name}.npy"]
    return sample, options


def run(*command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


def test_outputs_are_those_of_python(runner, artifact, arrays, tmp_path):
    sample, options = arrays
    names = ("scaled", "counted")
    wanted = [part for n in names for part in ("--output", f"{n}={tmp_path / n}.npy")]
    done = run(runner, artifact, *options, *wanted)
    assert done.returncode == 0, done.stderr
    expected = load(artifact).run(sample)
    for name in names:
        actual = np.load(tmp_path / f"{name}.npy")
        assert actual.dtype == expected[name].dtype
        np.testing.assert_array_equal(actual, expected[name])


def test_the_bench_mode_prints_one_json_document(runner, artifact):
    done = run(runner, artifact, "--bench", "0.05")
    found = json.loads(done.stdout)
    assert found["runs"] >= 10
    assert 0 < found["min_ms"] <= found["median_ms"]


def test_nothing_of_python_is_loaded(runner):
    assert "libpython" not in run("ldd", runner).stdout


def cut_off(folder):
    library = folder / "model.so"
    library.write_bytes(library.read_bytes()[:-100])


def not_a_library(folder):
    (folder / "model.so").write_text("not a library, but long enough for the header of one" * 4)


def no_manifest(folder):
    (folder / "manifest.json").unlink()


def half_a_manifest(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:200])


def of_another_format(folder):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))


def without_a_field(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"outputs"', '"results"'))


@pytest.mark.parametrize(
    ("damage", "fact"),
    [
        (cut_off, "cut off"),
        (not_a_library, "no shared library"),
        (no_manifest, "no manifest.json"),
        (half_a_manifest, "manifest.json"),
        (of_another_format, "another format"),
        (without_a_field, "damaged"),
    ],
)
def test_a_damaged_artifact_is_refused(runner, artifact, tmp_path, damage, fact):
    folder = tmp_path / "copy"
    shutil.copytree(artifact, folder)
    damage(folder)
    done = run(runner, folder, "--bench", "0.01")
    assert (done.returncode, done.stdout) == (2, "")
    assert fact in done.stderr


@pytest.fixture(scope="module")
def compressed(tmp_path_factory, runner):
    folder = write_two_headed(tmp_path_factory.mktemp("small") / "two", compressed=True)
    if "without zlib" in run(runner, folder, "--bench", "0.01").stderr:
        pytest.skip("needs the headers of zlib: hago-run was built without")
    return folder


def test_a_compressed_library_computes_the_same(runner, compressed, arrays, tmp_path):
    sample, options = arrays
    done = run(runner, compressed, *options, "--output", f"scaled={tmp_path / 'scaled.npy'}")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "scaled.npy"), 2 * sample["image"])


def cut_off_gzip(data):
    return data[:-40]


def no_gzip(data):
    return b"nothing of the kind"


def other_bits(data):
    return data[:2000] + bytes([data[2000] ^ 0xFF]) + data[2001:]


@pytest.mark.parametrize("damage", [cut_off_gzip, no_gzip, other_bits])
def test_a_damaged_compressed_library_is_refused(runner, compressed, tmp_path, damage):
    folder = tmp_path / "copy"
    shutil.copytree(compressed, folder)
    stored = folder / "model.so.gz"
    stored.write_bytes(damage(stored.read_bytes()))
    done = run(runner, folder, "--bench", "0.01")
    assert (done.returncode, done.stdout) == (2, "")
    assert "damaged" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_artifact_for_another_cpu_is_refused(runner, tmp_path):
    folder = write_two_headed(tmp_path / "other", features=("warp_drive",))
    done = run(runner, folder, "--bench", "0.01")
    assert done.returncode == 2
    assert "lacks warp_drive" in done.stderr


def test_a_missing_input_is_named(runner, artifact, arrays):
    done = run(runner, artifact, *arrays[1][:2])
    assert done.returncode == 2
    assert "'ids'" in done.stderr


@pytest.mark.parametrize(
    ("array", "fact"),
    [
        (np.zeros((1, 5), np.float32), "float32[1, 5]"),
        (np.zeros((1, 4), np.float64), "float64[1, 4]"),
        (np.zeros((1, 4), np.complex64), "<c8"),
        (np.asfortranarray(np.zeros((2, 4), np.float32)), "column-major"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(runner, artifact, arrays, tmp_path, array, fact):
    np.save(tmp_path / "image.npy", array)
    done = run(runner, artifact, *arrays[1])
    assert done.returncode == 2
    assert fact in done.stderr


@pytest.mark.parametrize("size", [0, 5, 9, 60, 130])
def test_a_file_that_is_cut_off_is_refused(runner, artifact, arrays, tmp_path, size):
    path = tmp_path / "image.npy"
    path.write_bytes(path.read_bytes()[:size])
    done = run(runner, artifact, *arrays[1])
    assert done.returncode == 2
    assert str(path) in done.stderr


def test_an_output_that_cannot_be_written_leaves_nothing(runner, artifact, arrays, tmp_path):
    target = tmp_path / "nowhere" / "scaled.npy"
    done = run(runner, artifact, *arrays[1], "--output", f"scaled={target}")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
