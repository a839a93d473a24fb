"""Runs the data through the float model once and keeps the statistics of every tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hago.calibrate.observers import TensorObserver, TensorStats
from hago.errors import DataError
from hago.progress import SILENT, Progress
from hago.sample import Sample, check_finite
from hago.scheme import Array

Run = Callable[[Sample], Mapping[str, Array]]


@dataclass(frozen=True, eq=False)
class Stats(Mapping[str, TensorStats]):
    """Statistics by tensor name, over ``samples`` samples.

    ``data`` are the samples themselves, for methods that run the model on them (it can be iterated
    again and again), ``progress`` is where these tell what they are doing.
    """

    tensors: Mapping[str, TensorStats]
    samples: int
    data: Iterable[Sample] = ()
    progress: Progress = SILENT

    def __getitem__(self, name: str) -> TensorStats:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def calibrate(
    run: Run, data: Iterable[Sample], names: Sequence[str], progress: Progress = SILENT
) -> Stats:
    """Statistics of the float tensors ``names``, from one pass over ``data``.

    ``run`` maps a sample to the values of (at least) those tensors. Raises DataError for a tensor
    that is not finite, with the sample, and for data without samples.
    """
    observers = {name: TensorObserver() for name in names}
    total = getattr(data, "count", None)
    samples = 0
    for number, sample in enumerate(progress.track(data, "calibrate", total)):
        values = run(sample)
        for name, observer in observers.items():
            check_finite(values[name], f"calibration sample {number}, tensor '{name}'")
            observer.observe(values[name])
        samples += 1
    if not samples:
        raise DataError("calibration data: no samples", way_out="Give at least one sample.")
    tensors = {name: observer.stats() for name, observer in observers.items()}
    return Stats(tensors, samples, data, progress)
