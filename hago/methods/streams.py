"""Values of all samples, of which those that are large are computed again where they are read.

Methods that learn want many samples, for the last layers have few positions a sample; the first
layers' values of all these would not fit into memory, but they are cheap to compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from hago.gradient import Hooks, Step, over_samples, torch

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 4  # samples that run at once
_MOST_KEPT = 2**25  # elements of a value that is kept: 128 MB

Picked = Any  # a slice, or a tensor of indices


class Value(Protocol):
    """One value for ``count`` samples."""

    @property
    def count(self) -> int: ...

    def take(self, picked: Picked) -> Any:
        """The value for the samples ``picked``: a tensor [samples, *shape in the module], or
        a tuple of these (of a split)."""


@dataclass(frozen=True, eq=False)
class Kept:
    """A value in memory."""

    value: Any

    @property
    def count(self) -> int:
        return len(self.value[0]) if isinstance(self.value, tuple) else len(self.value)

    def take(self, picked: Picked) -> Any:
        if isinstance(self.value, tuple):
            return tuple(each[picked] for each in self.value)
        return self.value[picked]


@dataclass(frozen=True, eq=False)
class Made:
    """The value ``name`` of ``steps``, computed from ``reads`` each time."""

    steps: tuple[Step, ...]
    hooks: Hooks
    reads: Mapping[str, Value]
    name: str

    @property
    def count(self) -> int:
        return next(iter(self.reads.values())).count

    def take(self, picked: Picked) -> Any:
        with torch.no_grad():
            return run_block(self.steps, self.reads, picked, self.hooks, self.name)


def run_block(
    steps: Sequence[Step], reads: Mapping[str, Value], picked: Picked, hooks: Hooks, name: str
) -> Any:
    """The value ``name`` of ``steps`` for the samples ``picked``."""
    given = {read: value.take(picked) for read, value in reads.items()}
    return over_samples(steps, given, hooks, [name])[name]


def follow(
    steps: tuple[Step, ...], values: Mapping[str, Value], hooks: Hooks, name: str
) -> Value:
    """The value ``name`` of ``steps`` on ``values``: kept where it is small enough."""
    reads = reads_of(steps, values)
    made = Made(steps, hooks, reads, name)
    size = sum(_extent(step) for step in steps if step.node.name == name)
    if size * made.count > _MOST_KEPT:
        return made
    return Kept(_joined([made.take(chunk) for chunk in chunks(made.count)]))


def reads_of(steps: Sequence[Step], values: Mapping[str, Value]) -> dict[str, Value]:
    """Those of ``values`` that are arguments of ``steps``."""
    names = dict.fromkeys(name for step in steps for name in step.node.inputs if name in values)
    return {name: values[name] for name in names}


def chunks(count: int) -> Iterator[slice]:
    """The samples 0 to ``count``, as many at a time as run at once."""
    return (slice(i, min(i + _CHUNK, count)) for i in range(0, count, _CHUNK))


def _extent(step: Step) -> int:
    """Elements of a step's result for one sample."""
    size = 1
    for extent in step.node.shape:
        size *= extent
    return size


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(_joined(list(each)) for each in zip(*parts, strict=True))
    joined: Tensor = torch.cat(parts)
    return joined
