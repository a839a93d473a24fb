"""Calibration data: a file, a folder or any iterable, as a stream of checked samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hago.calibrate.columns import Column, folder_columns, npz_columns
from hago.errors import DataError
from hago.sample import Sample, TensorSpec, check_names, check_sample
from hago.scheme import Array


@dataclass(frozen=True, eq=False)
class Dataset:
    """A stream of samples, each a dict of arrays in the shapes and dtypes of the model's inputs.

    ``count`` is the number of samples where it is known without reading them. Iterating raises
    DataError at the first sample that does not fit, and where there is none.
    """

    source: str
    inputs: tuple[TensorSpec, ...]
    count: int | None
    samples: Callable[[], Iterator[Sample]]

    def __iter__(self) -> Iterator[dict[str, Array]]:
        number = -1
        for number, sample in enumerate(self.samples()):
            yield check_sample(sample, self.inputs, f"{self.source}, sample {number}")
        if number < 0:
            raise DataError(
                f"{self.source}: no samples",
                fact="the data is empty",
                way_out="Give at least one sample; 32 to 128 are usual.",
            )


def load_data(source: str | Path | Iterable[Sample], inputs: Sequence[TensorSpec]) -> Dataset:
    """A stream of samples for a model with ``inputs``, read lazily, one sample in memory.

    ``source`` is an ``.npz`` (arrays by input name, the first axis is samples), a folder of
    ``.npy`` (named by input), or an iterable of dicts. A file's rows are whole inputs, or are
    joined to the batches that the model takes. Raises DataError where it does not fit.
    """
    if not isinstance(source, str | Path):
        count = len(source) if isinstance(source, Sequence) else None
        return Dataset("calibration data", tuple(inputs), count, lambda: iter(source))
    path = Path(source)
    columns = _columns(path)
    check_names([column.name for column in columns], inputs, str(path))
    by_name = {column.name: column for column in columns}
    steps = {spec.name: _rows_per_sample(by_name[spec.name], spec, path) for spec in inputs}
    counts = {name: by_name[name].shape[0] // step for name, step in steps.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"'{name}' has {count}" for name, count in counts.items())
        raise DataError(f"{path}: the inputs have different numbers of samples", fact=found)

    def samples() -> Iterator[Sample]:
        streams = [by_name[name].rows(step) for name, step in steps.items()]
        for arrays in zip(*streams, strict=True):
            fitted = zip(inputs, arrays, strict=True)
            yield {spec.name: _one(array, spec) for spec, array in fitted}

    return Dataset(str(path), tuple(inputs), next(iter(counts.values())), samples)


def _columns(path: Path) -> list[Column]:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder", way_out="Check the path.")
    columns = folder_columns(path) if path.is_dir() else npz_columns(path)
    if not columns:
        raise DataError(
            f"{path}: no arrays",
            fact="a folder of .npy files named by input, or an .npz, was expected",
            way_out="Save the data with numpy.savez(path, input_name=array).",
        )
    return columns


def _rows_per_sample(column: Column, spec: TensorSpec, path: Path) -> int:
    """How many rows make one input: 1, or the model's batch size."""
    if column.shape[1:] == spec.shape:
        return 1
    if column.shape[1:] != spec.shape[1:]:
        raise DataError(
            f"{path}, input '{spec.name}': {column.shape[0]} samples of "
            f"shape {list(column.shape[1:])}",
            fact=f"the model takes {spec}",
            way_out="The first axis is samples; the others must fit, or fix others with --shape.",
        )
    if column.shape[0] % spec.shape[0]:
        raise DataError(
            f"{path}, input '{spec.name}': {column.shape[0]} samples do not fill batches",
            fact=f"the model takes batches of {spec.shape[0]}",
            way_out="Give a multiple of the batch size.",
        )
    return spec.shape[0]


def _one(block: Array, spec: TensorSpec) -> Array:
    """The block of rows as one input: a single row may be the whole input."""
    return block if block.shape == spec.shape else block[0]
