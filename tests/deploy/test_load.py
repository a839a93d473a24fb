"""Loading and calling artifacts: right answers, and one clear error for each wrong use."""

import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest

import hago
from hago.deploy.bench import bench
from hago.deploy.runtime import load_runtime
from hago.errors import BuildError, DataError
from tests.deploy.models import manifest_of, write_two_headed

SAMPLE = {"image": np.arange(4, dtype=np.float32)[None], "ids": np.array([[5, 6, 7]])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_two_headed(tmp_path_factory.mktemp("artifact") / "out")


@pytest.fixture
def copy(folder, tmp_path):
    for name in ("model.so", "manifest.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    return tmp_path


def change(folder, **fields):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_model_maps_named_inputs_to_named_outputs(folder):
    outputs = hago.load(folder).run(SAMPLE)
    np.testing.assert_array_equal(outputs["scaled"], 2 * SAMPLE["image"])
    np.testing.assert_array_equal(outputs["counted"], SAMPLE["ids"] + 1)


def test_a_model_is_called_by_position_or_by_name(folder):
    model = hago.load(folder)
    for results in (model(*SAMPLE.values()), model(SAMPLE["image"], ids=SAMPLE["ids"])):
        np.testing.assert_array_equal(results[1], [[6, 7, 8]])


def test_inputs_that_are_read_only_or_misaligned_or_strided_are_copied(folder):
    model = hago.load(folder)
    odd = np.frombuffer(b"\0" + SAMPLE["image"].tobytes(), np.uint8)[1:].view(np.float32)
    for image in (odd[None], np.repeat(SAMPLE["image"], 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(model.run({**SAMPLE, "image": image})["scaled"][0, 3], 6)


def test_a_model_compiled_anew_into_its_folder_is_the_new_one(tmp_path):
    for scale in (2.0, 3.0):
        model = hago.load(write_two_headed(tmp_path / "out", scale))
        np.testing.assert_array_equal(model.run(SAMPLE)["scaled"], scale * SAMPLE["image"])


def test_outputs_of_two_calls_do_not_share_memory(folder):
    model = hago.load(folder)
    first = model.run(SAMPLE)["scaled"]
    model.run({**SAMPLE, "image": SAMPLE["image"] + 1})
    np.testing.assert_array_equal(first, 2 * SAMPLE["image"])


def test_two_models_live_side_by_side(folder, tmp_path):
    other = hago.load(write_two_headed(tmp_path / "out", scale=3.0))
    assert hago.load(folder).run(SAMPLE)["scaled"][0, 1] == 2
    assert other.run(SAMPLE)["scaled"][0, 1] == 3


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({**SAMPLE, "image": np.zeros((1, 5), np.float32)}, r"'image': shape \[1, 5\]"),
        ({**SAMPLE, "ids": np.full((1, 3), 0.5)}, "'ids': float64 does not convert"),
        ({"image": SAMPLE["image"]}, "no array for input 'ids'"),
        ({**SAMPLE, "imagee": 1}, "no input 'imagee', did you mean 'image'"),
    ],
    ids=["shape", "dtype", "missing", "unknown"],
)
def test_a_wrong_input_is_named(folder, sample, message):
    with pytest.raises(DataError, match=message):
        hago.load(folder).run(sample)


def test_too_many_inputs_are_refused(folder):
    with pytest.raises(DataError, match="3 inputs were given"):
        hago.load(folder)(1, 2, 3)


def test_an_input_given_twice_is_refused(folder):
    with pytest.raises(DataError, match="'image': given by position and by name"):
        hago.load(folder)(SAMPLE["image"], image=SAMPLE["image"])


def test_a_cpu_without_the_features_is_refused(tmp_path):
    write_two_headed(tmp_path / "out", features=("sse2_of_tomorrow",))
    with pytest.raises(BuildError, match="the CPU lacks sse2_of_tomorrow"):
        hago.load(tmp_path / "out")


def test_a_folder_that_is_no_artifact_is_refused(tmp_path):
    with pytest.raises(BuildError, match="not an artifact"):
        hago.load(tmp_path)


def test_a_truncated_manifest_is_refused(copy):
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text[: len(text) // 2])
    with pytest.raises(BuildError, match=r"manifest\.json: damaged"):
        hago.load(copy)


@pytest.mark.parametrize(
    "fields",
    [{"inputs": []}, {"inputs": [{"name": "x"}]}, {"machine": "toy"}, {"model": 3}, {"edges": [1]}],
    ids=str,
)
def test_a_manifest_with_wrong_fields_is_refused(copy, fields):
    change(copy, **fields)
    with pytest.raises(BuildError, match=r"manifest\.json: damaged"):
        hago.load(copy)


def test_a_manifest_of_another_format_is_refused(copy):
    change(copy, format=99)
    with pytest.raises(BuildError, match="format 99"):
        hago.load(copy)


def test_a_truncated_library_is_refused(copy):
    (copy / "model.so").write_bytes((copy / "model.so").read_bytes()[:2000])
    with pytest.raises(BuildError, match=r"model\.so: damaged"):
        hago.load(copy)


def test_a_library_with_another_bit_is_refused(copy):
    data = bytearray((copy / "model.so").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.so").write_bytes(data)
    with pytest.raises(BuildError, match=r"model\.so: damaged"):
        hago.load(copy)


def test_a_missing_library_is_refused(copy):
    (copy / "model.so").unlink()
    with pytest.raises(BuildError, match=r"model\.so: damaged"):
        hago.load(copy)


def test_a_library_without_a_model_is_refused(copy):
    (copy / "model.so").write_bytes(b"not ELF")
    change(copy, library_crc32=zlib.crc32(b"not ELF"))
    with pytest.raises(BuildError, match=r"model\.so: damaged"):
        hago.load(copy)


def test_threads_may_become_more(folder):
    """TVM's pool is made once: the first model does not bound those after it."""
    used = load_runtime().get_global_func("runtime.NumThreads")
    available = len(os.sched_getaffinity(0))
    for count in (1, min(2, available), 1, available):
        hago.load(folder, threads=count)
        assert used() == count


def test_more_threads_than_cpus_are_refused(folder):
    with pytest.raises(BuildError, match="1000 threads"):
        hago.load(folder, threads=1000)


def test_loading_needs_neither_onnx_nor_the_compiler(folder):
    program = (
        "import sys, numpy, hago; model = hago.load(sys.argv[1]);"
        "model(numpy.zeros((1, 4), 'float32'), numpy.zeros((1, 3), 'int64'));"
        "print(sorted({'tvm', 'onnx', 'typer', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_benchmark_orders_its_figures(folder):
    timing = bench(hago.load(folder), threads=1, seconds=0.02)
    assert 0 < timing.min_ms <= timing.median_ms
    assert timing.runs >= 10
    assert timing.to_json()["median_ms"] == timing.median_ms


def test_a_manifest_needs_an_output():
    from dataclasses import replace

    with pytest.raises(ValueError, match="at least one input and one output"):
        replace(manifest_of(), outputs=())
