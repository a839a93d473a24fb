"""Calibration data: what is accepted, and the one error for what is not."""

import zipfile

import numpy as np
import pytest

from hago.calibrate.data import load_data
from hago.errors import DataError
from hago.sample import TensorSpec

IMAGE = TensorSpec("image", (1, 3, 4, 4), "float32")
IDS = TensorSpec("ids", (1, 5), "int64")


def images(count=3, dtype=np.float32):
    return np.arange(count * 48).reshape(count, 3, 4, 4).astype(dtype)


@pytest.fixture
def save(tmp_path):
    def write(**arrays):
        np.savez(tmp_path / "data.npz", **arrays)
        return tmp_path / "data.npz"

    return write


def test_an_npz_is_read_one_sample_at_a_time_with_a_batch_axis(save):
    data = load_data(save(image=images()), [IMAGE])
    samples = list(data)
    assert data.count == 3
    assert [sample["image"].shape for sample in samples] == [(1, 3, 4, 4)] * 3
    np.testing.assert_array_equal(np.concatenate([s["image"] for s in samples]), images())


def test_data_can_be_read_twice(save):
    data = load_data(save(image=images()), [IMAGE])
    assert len(list(data)) == len(list(data)) == 3


def test_a_compressed_npz_reads_the_same(tmp_path):
    np.savez_compressed(tmp_path / "data.npz", image=images())
    samples = list(load_data(tmp_path / "data.npz", [IMAGE]))
    np.testing.assert_array_equal(samples[2]["image"], images()[2:])


def test_an_array_in_fortran_order_reads_the_same(save):
    samples = list(load_data(save(image=np.asfortranarray(images())), [IMAGE]))
    np.testing.assert_array_equal(samples[1]["image"], images()[1:2])


def test_a_folder_of_npy_is_named_by_its_inputs(tmp_path):
    np.save(tmp_path / "image.npy", images(2))
    np.save(tmp_path / "ids.npy", np.ones((2, 5), np.int32))
    samples = list(load_data(tmp_path, [IMAGE, IDS]))
    assert [s["ids"].dtype for s in samples] == [np.int64, np.int64]


def test_an_iterable_of_dicts_is_taken_as_it_is():
    samples = list(load_data(({"image": images(1)} for _ in range(2)), [IMAGE]))
    assert len(samples) == 2


def test_a_sample_without_batch_axis_gets_one():
    (sample,) = load_data([{"image": images(1)[0]}], [IMAGE])
    assert sample["image"].shape == IMAGE.shape


def test_a_number_is_no_row():
    (sample,) = load_data([{"x": np.float32(2)}], (TensorSpec("x", (), "float32"),))
    assert sample["x"].shape == ()


def test_rows_are_joined_to_the_models_batch(save):
    batched = TensorSpec("image", (2, 3, 4, 4), "float32")
    samples = list(load_data(save(image=images(4)), [batched]))
    assert [s["image"].shape for s in samples] == [batched.shape] * 2


def test_rows_that_are_whole_inputs_lose_the_sample_axis(save):
    unbatched = TensorSpec("ids", (5,), "int64")
    samples = list(load_data(save(ids=np.zeros((3, 5), np.int64)), [unbatched]))
    assert [s["ids"].shape for s in samples] == [(5,)] * 3


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "int32", "bool"])
def test_dtypes_that_convert_without_loss_are_converted(dtype):
    (sample,) = load_data([{"image": images(1, dtype)}], [IMAGE])
    assert sample["image"].dtype == np.float32


def bad(arrays, message, inputs=(IMAGE,)):
    return pytest.param(arrays, list(inputs), message, id=message)


@pytest.mark.parametrize(
    ("arrays", "inputs", "message"),
    [
        bad({"imagee": images()}, "no input 'imagee', did you mean 'image'"),
        bad({"image": images()}, "no array for input 'ids'", [IMAGE, IDS]),
        bad({"image": images(), "label": images()}, "no input 'label'"),
        bad({"image": images()[:, :2]}, r"shape \[2, 4, 4\]"),
        bad({"image": images(0)}, "no samples"),
        bad({"image": np.float32(1)}, "no samples"),
        bad({"image": images(3).astype(complex)}, "sample 0, input 'image': complex128"),
        bad({"ids": np.full((1, 5), 0.5)}, "sample 0, input 'ids': float64", [IDS]),
        bad({"ids": np.full((1, 5), 2**63, np.uint64)}, "input 'ids': uint64", [IDS]),
        bad({"image": np.full((1, 3, 4, 4), 1e300)}, "input 'image': inf"),
        bad({"image": images(), "ids": np.ones((2, 5), int)}, "different numbers", [IMAGE, IDS]),
        bad({"image": np.array([{}], object)}, "array 'image': cannot be read"),
        bad({"image": images(3)}, "batches", [TensorSpec("image", (2, 3, 4, 4), "float32")]),
    ],
)
def test_data_that_does_not_fit_says_where(save, arrays, inputs, message):
    with pytest.raises(DataError, match=message):
        list(load_data(save(**arrays), inputs))


def test_nan_is_named_by_sample_input_and_index():
    samples = [{"image": images(1)}, {"image": images(1)}]
    samples[1]["image"][0, 2, 1, 3] = np.nan
    with pytest.raises(DataError, match=r"sample 1, input 'image': nan at index \[0, 2, 1, 3\]"):
        list(load_data(samples, [IMAGE]))


def test_an_iterable_without_samples_is_an_error():
    with pytest.raises(DataError, match="no samples"):
        list(load_data([], [IMAGE]))


def test_a_sample_that_is_no_mapping_is_an_error():
    with pytest.raises(DataError, match="sample 0: not a sample"):
        list(load_data([images(1)], [IMAGE]))


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no arrays"):
        load_data(tmp_path, [IMAGE])


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_data(tmp_path / "absent.npz", [IMAGE])


@pytest.mark.parametrize("content", [b"", b"some text", b"PK\x03\x04"], ids=str)
def test_a_file_that_is_no_npz_is_an_error(tmp_path, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        load_data(path, [IMAGE])


def test_a_truncated_npz_is_an_error(save):
    path = save(image=images())
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="cannot be read"):
        load_data(path, [IMAGE])


def test_a_member_that_ends_early_is_an_error(tmp_path):
    np.save(tmp_path / "image.npy", images())
    content = (tmp_path / "image.npy").read_bytes()
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("image.npy", content[:-8])
    with pytest.raises(DataError, match="ends 8 bytes early"):
        list(load_data(tmp_path / "data.npz", [IMAGE]))


def test_a_truncated_npy_is_an_error(tmp_path):
    np.save(tmp_path / "image.npy", images())
    path = tmp_path / "image.npy"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="cannot be read"):
        load_data(tmp_path, [IMAGE])
