"""Data that cannot be used: one clear error on stderr, exit code 2, nothing is left behind."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.cli.program import MACHINE, Program, save_data
from tests.cli.refusals import (
    Make,
    assert_nothing_written,
    assert_refused,
    empty_file,
    names,
    text_file,
)
from tests.onnx_models import normal

IMAGES = normal(4, 3, 8, 8, seed=4)


def pickled(folder: Path) -> Path:
    """Arrays of objects whose loading would write a file."""
    array = np.empty(4, object)
    array[:] = Trap(folder / "trapped")
    np.savez(folder / "d.npz", image=array)
    return folder / "d.npz"


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def plain_pickle(folder: Path) -> Path:
    (folder / "d.npz").write_bytes(pickle.dumps(Trap(folder / "trapped")))
    return folder / "d.npz"


def arrays(**values: np.ndarray) -> Make:
    return lambda folder: save_data(folder / "d.npz", **values)


def half_a_file(folder: Path) -> Path:
    path = save_data(folder / "d.npz")
    path.write_bytes(path.read_bytes()[:2000])
    return path


def damaged_middle(folder: Path) -> Path:
    path = save_data(folder / "d.npz")
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    return path


def empty_archive(folder: Path) -> Path:
    np.savez(folder / "d.npz")
    return folder / "d.npz"


def empty_folder(folder: Path) -> Path:
    (folder / "d").mkdir()
    return folder / "d"


def poisoned(value: float) -> np.ndarray:
    images = IMAGES.copy()
    images[2, 1, 0, 3] = value
    return images


DATA: dict[str, tuple[Make, tuple[str, ...]]] = {
    "missing": (lambda folder: folder / "none.npz", ("none.npz",)),
    "wrong key": (arrays(imgae=IMAGES), ("no input 'imgae'", "did you mean 'image'")),
    "another key": (arrays(image=IMAGES, extra=IMAGES), ("no input 'extra'",)),
    "wrong shape": (arrays(image=normal(4, 8, 8, 3)), ("[8, 8, 3]", "[1, 3, 8, 8]")),
    "wrong dtype": (arrays(image=IMAGES.astype(complex)), ("complex128", "float32")),
    "text": (arrays(image=np.full(IMAGES.shape, "a")), ("image", "float32")),
    "NaN": (arrays(image=poisoned(np.nan)), ("sample 2", "'image'", "nan")),
    "infinity": (arrays(image=poisoned(np.inf)), ("sample 2", "'image'", "inf")),
    "no samples": (arrays(image=IMAGES[:0]), ("no samples",)),
    "objects": (pickled, ("objects",)),
    "a pickle": (plain_pickle, ("cannot be read",)),
    "half a file": (half_a_file, ("cannot be read",)),
    "damaged": (damaged_middle, ("cannot be read",)),
    "no arrays": (empty_archive, ("no arrays",)),
    "an empty folder": (empty_folder, ("no arrays",)),
    "text file": (text_file, ("cannot be read",)),
    "empty file": (empty_file, ("cannot be read",)),
}


@pytest.mark.parametrize("name", DATA)
def test_calibration_data_that_cannot_be_used(
    hago_program: Program, model: Path, tmp_path: Path, name: str
) -> None:
    make, parts = DATA[name]
    data = make(tmp_path)
    before = names(tmp_path)
    arguments = ("--hw", MACHINE, "--data", data, "-o", tmp_path / "out", "--precision", "int8")
    assert_refused(hago_program("compile", model, *arguments), *parts)
    assert_nothing_written(tmp_path, before)


@pytest.mark.parametrize("name", DATA)
def test_inputs_that_cannot_be_used(
    hago_program: Program, artifact: Path, tmp_path: Path, name: str
) -> None:
    make, parts = DATA[name]
    data = make(tmp_path)
    before = names(tmp_path)
    done = hago_program("run", artifact, "--input", data, "--output", tmp_path / "y.npz")
    assert_refused(done, *parts)
    assert_nothing_written(tmp_path, before)


def test_data_is_asked_for_where_it_is_needed(
    hago_program: Program, model: Path, tmp_path: Path
) -> None:
    arguments = ("--hw", MACHINE, "-o", tmp_path / "out", "--precision", "int8")
    assert_refused(hago_program("compile", model, *arguments), "no calibration data", "--data")
