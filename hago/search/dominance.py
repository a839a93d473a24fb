"""Options that no better strategy can have, by what was measured: pruned from proposals.

An option is dominated by another one of its group that is never slower, never less accurate and
never larger. Never slower is proven, not guessed: in every sub-graph that reads or writes the
group, whatever the other groups are, both were measured. Noises and latencies add up in the model
that solvers use, so exchanging the option for the other one makes no strategy worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hago.search.space import Assignment, Space

if TYPE_CHECKING:
    from hago.search.problem import Table

Noises = Sequence[Sequence[float]]  # by group and option


def undominated(
    space: Space, noise: Noises, tables: Sequence[Table]
) -> tuple[tuple[int, ...], ...]:
    """The options of each group that nothing dominates; of equal ones the first stays."""
    return tuple(
        tuple(
            option
            for option in range(len(group.options))
            if not _is_beaten(space, noise, tables, g, option)
        )
        for g, group in enumerate(space.groups)
    )


def _is_beaten(
    space: Space, noise: Noises, tables: Sequence[Table], group: int, option: int
) -> bool:
    def beats(one: int, other: int) -> bool:
        options = space.groups[group]
        return (
            noise[group][one] <= noise[group][other]
            and options.weight_bytes(one) <= options.weight_bytes(other)
            and all(_is_faster(table, group, one, other) for table in tables)
        )

    others = (other for other in range(len(space.groups[group].options)) if other != option)
    return any(
        beats(other, option) and (other < option or not beats(option, other)) for other in others
    )


def _is_faster(table: Table, group: int, one: int, other: int) -> bool:
    if group not in table.groups:
        return True
    place = table.groups.index(group)
    pairs = [(c, _with(c, place, one)) for c in table.latency_ms if c[place] == other]
    return all(
        slow in table.measured
        and fast in table.measured
        and table.latency_ms[fast] <= table.latency_ms[slow]
        for slow, fast in pairs
    )


def _with(configuration: Assignment, place: int, option: int) -> Assignment:
    return (*configuration[:place], option, *configuration[place + 1 :])
