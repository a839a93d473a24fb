"""Which values of a sample are padding: no result depends on them, so no statistic counts them.

Models that read a mask (a text shorter than the longest) compute on the masked positions all the
same. Whether an input is such a mask is not guessed from its name but tried: where it is zero the
other integer inputs are replaced, and if every result keeps each of its bits, what changed on the
way was padding. A sample then runs twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hago.sample import Sample
from hago.scheme import Array

Run = Callable[[Sample], Mapping[str, Array]]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Seen:
    """The tensors of one sample; ``changed`` are the same with other padding, or the same.

    ``mask`` is the input that says where there is padding; empty where nothing does.
    """

    values: Mapping[str, Array]
    changed: Mapping[str, Array]
    mask: str = ""

    def counted(self, name: str) -> Array:
        """The elements of the tensor that are no padding; all of them where there is none."""
        value, other = self.values[name], self.changed[name]
        if value is other:
            return value
        kept: Array = value[value == other]
        return kept if kept.size else value

    def counted_rows(self, name: str) -> Array:
        """[rows, channels]: the positions (all axes but the last) that are no padding."""
        value = self.values[name].reshape(-1, self.values[name].shape[-1])
        kept: Array = value[self.positions(name)]
        return kept if len(kept) else value

    def positions(self, name: str) -> Bools:
        """[rows]: which positions (all axes but the last) are no padding."""
        value, other = (v[name].reshape(-1, v[name].shape[-1]) for v in (self.values, self.changed))
        if self.values[name] is self.changed[name]:
            return np.ones(len(value), np.bool_)
        return np.asarray((value == other).all(axis=1))


@dataclass(frozen=True)
class Look:
    """``run`` with an eye on padding, which must not change any of the tensors ``results``.

    Without ``results`` nothing is taken for padding. They are floats: an integer (a class) may
    stay the same whatever it depends on.
    """

    run: Run
    results: Sequence[str] = ()

    def __call__(self, sample: Sample) -> Seen:
        """The tensors of ``sample``."""
        values = self.run(sample)
        for mask, other in _repadded(sample).items() if self.results else ():
            changed = self.run(other)
            if all(np.array_equal(values[name], changed[name]) for name in self.results):
                return Seen(values, changed, mask)
        return Seen(values, values)


def _repadded(sample: Sample) -> dict[str, Sample]:
    """``sample`` with other padding, by each input that may be the mask of the others."""
    found: dict[str, Sample] = {}
    integers = {name: value for name, value in sample.items() if value.dtype.kind in "iu"}
    for mask_name, mask in integers.items():
        is_padding = mask == 0
        if not is_padding.any() or is_padding.all() or not np.isin(mask, (0, 1)).all():
            continue
        changed = {
            name: _replaced(value, is_padding)
            for name, value in integers.items()
            if name != mask_name and value.shape == mask.shape
        }
        if any(not np.array_equal(value, sample[name]) for name, value in changed.items()):
            found[mask_name] = {**sample, **changed}
    return found


def _replaced(values: Array, is_padding: Bools) -> Array:
    """``values`` whose padding is what stands elsewhere in them, in turn."""
    given = values[~is_padding]
    result = values.copy()
    result[is_padding] = np.resize(given, int(is_padding.sum()))
    return result
