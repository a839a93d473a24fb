"""Runs the data through the float model once and keeps the statistics of every tensor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field

from hago.calibrate.ahead import one_ahead
from hago.calibrate.moments import MomentObserver, Moments, Windows, rows_per_sample
from hago.calibrate.observers import TensorObserver, TensorStats
from hago.calibrate.padding import Look
from hago.calibrate.positions import PositionObserver, Positions
from hago.errors import DataError
from hago.progress import SILENT, Progress
from hago.sample import Sample, check_finite


@dataclass(frozen=True, eq=False)
class Stats(Mapping[str, TensorStats]):
    """Statistics by tensor name, over ``samples`` samples.

    ``moments`` are those of what a product reads, by the product's name, where they were asked for.
    ``data`` are the samples themselves, for methods that run the model on them (it can be iterated
    again and again), ``progress`` is where these tell what they are doing. ``mask`` is the input
    that is zero where a sample holds padding, if there is one. ``positions`` are means and
    variances of each position of some tensors, where asked for.
    """

    tensors: Mapping[str, TensorStats]
    samples: int
    data: Iterable[Sample] = ()
    progress: Progress = SILENT
    moments: Moments = field(default_factory=dict)
    mask: str = ""
    positions: Positions = field(default_factory=dict)

    def __getitem__(self, name: str) -> TensorStats:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def count_of(data: Iterable[Sample]) -> int | None:
    """The number of samples where it is known without reading them."""
    if isinstance(data, Sized):
        return len(data)
    count = getattr(data, "count", None)
    return count if isinstance(count, int) else None


@dataclass(frozen=True)
class Reader:
    """A product that reads the tensor ``source`` by ``windows``."""

    source: str
    windows: Windows


def calibrate(
    look: Look,
    data: Iterable[Sample],
    names: Sequence[str],
    progress: Progress = SILENT,
    readers: Mapping[str, Reader] | None = None,
    positions: Sequence[str] = (),
) -> Stats:
    """Statistics of the float tensors ``names``, from one pass over ``data``.

    ``look`` sees the values of (at least) those tensors and the sources of ``readers``, products
    by name whose moments are wanted, and ``positions``, tensors whose positions are. Padding is not
    counted. Raises DataError for a tensor that is not finite, with the sample, and for data without
    samples.
    """
    tensors = {name: TensorObserver() for name in names}
    count = count_of(data)
    products = {
        name: MomentObserver(reader.windows, rows_per_sample(reader.windows, count))
        for name, reader in (readers or {}).items()
    }
    places = {name: PositionObserver() for name in positions}
    samples = 0
    masks: set[str] = set()
    for number, seen in enumerate(one_ahead(look, progress.track(data, "calibrate", count))):
        masks |= {seen.mask} - {""}
        for name, tensor in tensors.items():
            check_finite(seen.values[name], f"calibration sample {number}, tensor '{name}'")
            tensor.observe(seen.counted(name))
        for name, reader in (readers or {}).items():
            is_product = reader.windows.kernel is None
            source = reader.source
            rows = seen.counted_rows(source) if is_product else seen.values[source]
            products[name].observe(rows)
        for name, place in places.items():
            place.observe(seen.values[name], seen.positions(name))
        samples += 1
    if not samples:
        raise DataError("calibration data: no samples", way_out="Give at least one sample.")
    return Stats(
        {name: tensor.stats() for name, tensor in tensors.items()},
        samples,
        data,
        progress,
        {name: product.moments() for name, product in products.items()},
        masks.pop() if len(masks) == 1 else "",
        {name: place.stats() for name, place in places.items()},
    )
