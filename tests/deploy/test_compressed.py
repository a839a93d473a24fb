"""Artifacts whose library is stored compressed."""

import json
import zlib

import numpy as np
import pytest

from hago.deploy.artifact import COMPRESSED, LIBRARY, library_bytes, library_of, replace_manifest
from hago.deploy.load import load
from hago.deploy.manifest import read_manifest
from hago.errors import BuildError
from tests.deploy.models import write_two_headed

SAMPLE = {"image": np.arange(4, dtype=np.float32)[None], "ids": np.array([[1, 2, 3]])}


@pytest.fixture
def folder(tmp_path):
    return write_two_headed(tmp_path / "small", compressed=True)


def with_library(folder, data):
    """The artifact with another library, which its manifest describes."""
    library_of(folder).write_bytes(data)
    fields = json.loads((folder / "manifest.json").read_text())
    fields["library_crc32"] = zlib.crc32(data)
    (folder / "manifest.json").write_text(json.dumps(fields))


def test_it_holds_the_same_library_in_fewer_bytes(folder, tmp_path):
    plain = write_two_headed(tmp_path / "plain")
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", COMPRESSED]
    assert library_of(plain).name == LIBRARY
    assert len(library_bytes(folder)) == len(library_bytes(plain))
    assert library_of(folder).stat().st_size < 0.5 * library_of(plain).stat().st_size


def test_it_computes_the_same(folder, tmp_path):
    plain = load(write_two_headed(tmp_path / "plain")).run(SAMPLE)
    for name, value in load(folder).run(SAMPLE).items():
        np.testing.assert_array_equal(value, plain[name])


def test_compiled_anew_without_compression_it_is_the_new_one(folder):
    write_two_headed(folder, scale=5.0)
    assert library_of(folder).name == LIBRARY
    np.testing.assert_array_equal(load(folder).run(SAMPLE)["scaled"], 5 * SAMPLE["image"])


def test_its_manifest_can_be_replaced(folder):
    replace_manifest(folder, read_manifest(folder))
    assert load(folder).run(SAMPLE)


def test_another_file_than_the_manifest_describes_is_refused(folder):
    library_of(folder).write_bytes(library_of(folder).read_bytes()[:-1])
    with pytest.raises(BuildError, match=r"model\.so\.gz: damaged"):
        load(folder)


@pytest.mark.parametrize("damage", ["cut off", "no gzip", "bits"])
def test_what_cannot_be_inflated_is_refused(folder, damage):
    data = bytearray(library_of(folder).read_bytes())
    if damage == "bits":
        data[len(data) // 2] ^= 0xFF
    with_library(folder, {"cut off": data[:-40], "no gzip": b"nothing", "bits": data}[damage])
    with pytest.raises(BuildError, match=r"model\.so\.gz: damaged"):
        load(folder)
