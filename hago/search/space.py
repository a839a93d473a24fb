"""What is searched: groups of edges that change precision together, and what each may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from hago.errors import DataError
from hago.graph import Edge
from hago.sample import did_you_mean
from hago.scheme import QuantScheme

Assignment = tuple[int, ...]  # for each group the number of its option


@dataclass(frozen=True)
class Option:
    """One precision of a group: a scheme for each of its edges, none for float32.

    ``bits`` is the width of the weights, or of the data where there are none.
    """

    name: str
    bits: int
    schemes: Mapping[Edge, QuantScheme] = field(default_factory=dict)


FLOAT = Option("float32", 32)


@dataclass(frozen=True)
class Group:
    """Edges that change together; ``options`` go down from float32, the most bits first.

    ``weights`` is the number of constant elements that the edges read.
    """

    name: str
    edges: tuple[Edge, ...]
    options: tuple[Option, ...]
    weights: int = 0

    def __post_init__(self) -> None:
        names = [option.name for option in self.options]
        if names[:1] != [FLOAT.name] or len(set(names)) < len(names):
            raise ValueError(f"{self.name}: options are float32 and others once each, not {names}")

    def weight_bytes(self, option: int) -> int:
        """Bytes of the weights, packed at their width."""
        return self.weights * self.options[option].bits // 8


@dataclass(frozen=True)
class Space:
    """Every strategy that a search may try."""

    groups: tuple[Group, ...]

    @property
    def size(self) -> int:
        return prod(len(group.options) for group in self.groups)

    def weight_bytes(self, assignment: Sequence[int]) -> int:
        """Bytes of all weights, packed at their widths."""
        groups = zip(self.groups, assignment, strict=True)
        return sum(group.weight_bytes(option) for group, option in groups)

    @property
    def floats(self) -> Assignment:
        """All in float32."""
        return (0,) * len(self.groups)

    @property
    def lowest(self) -> Assignment:
        """Every group with its fewest bits."""
        return tuple(len(group.options) - 1 for group in self.groups)

    def levels(self) -> list[Assignment]:
        """The first options of all groups, the second, and so on; the shorter stay at their end."""
        deepest = max(self.lowest, default=0)
        return [tuple(min(level, last) for last in self.lowest) for level in range(deepest + 1)]

    def names(self, assignment: Assignment) -> list[str]:
        """The chosen option of each group, by name."""
        return [g.options[o].name for g, o in zip(self.groups, assignment, strict=True)]

    def groups_by(self, end: Callable[[Edge], str]) -> dict[str, set[int]]:
        """By what ``end`` gives of an edge, the numbers of the groups that have such an edge."""
        found: dict[str, set[int]] = {}
        for number, group in enumerate(self.groups):
            for edge in group.edges:
                found.setdefault(end(edge), set()).add(number)
        return found

    def strategy(self, assignment: Assignment) -> dict[Edge, QuantScheme]:
        chosen: dict[Edge, QuantScheme] = {}
        for group, option in zip(self.groups, assignment, strict=True):
            chosen.update(group.options[option].schemes)
        return chosen

    def parse(self, names: Sequence[str]) -> Assignment:
        """The assignment that :meth:`names` gave. Raises DataError for another space's."""
        if len(names) != len(self.groups):
            raise DataError(f"{len(names)} precisions for {len(self.groups)} groups")
        return tuple(map(_option, self.groups, names))


def _option(group: Group, name: str) -> int:
    names = [option.name for option in group.options]
    if name not in names:
        raise DataError(
            f"{group.name}: no option '{name}'{did_you_mean(name, names)}",
            fact=f"it may be {', '.join(names)}",
        )
    return names.index(name)
