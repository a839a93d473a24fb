"""hago run: arrays in, arrays out."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated

import numpy as np
import typer

from hago.cli.options import Artifact, AsJson, Threads
from hago.errors import DataError
from hago.report import Json
from hago.scheme import Array


def run(
    folder: Artifact,
    input_: Annotated[Path, typer.Option("--input", metavar="X.npz", help="Arrays by input.")],
    output: Annotated[Path, typer.Option("--output", metavar="Y.npz", help="To be written.")],
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Run an artifact on every sample (the first axis) of X.npz; results go to Y.npz."""
    from hago.calibrate import load_data
    from hago.cli.progress import drawn_progress
    from hago.cli.render import print_json
    from hago.deploy.load import load

    model = load(folder, threads)
    data = load_data(input_, model.inputs)
    with drawn_progress() as progress:
        results = [model.run(sample) for sample in progress.track(data, "run", data.count)]
    names = [spec.name for spec in model.outputs]
    arrays = {name: _join([result[name] for result in results]) for name in names}
    write_npz(output, arrays)
    if as_json:
        shapes: dict[str, Json] = {name: [*array.shape] for name, array in arrays.items()}
        print_json({"output": str(output), "samples": len(results), "shapes": shapes})


def _join(results: list[Array]) -> Array:
    """Results of all samples along the first axis (a new one for scalars)."""
    return np.concatenate([np.atleast_1d(result) for result in results])


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes ``arrays`` so that ``path`` is complete or as it was. Raises DataError."""
    try:
        handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                _write_members(stream, arrays)
            Path(scratch).replace(path)
        finally:
            Path(scratch).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written",
            fact=str(error),
            way_out="Give a file with --output that you may write to.",
        ) from error


def _write_members(stream: IO[bytes], arrays: Mapping[str, Array]) -> None:
    """As numpy.savez, which cannot take an array called 'file'."""
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
