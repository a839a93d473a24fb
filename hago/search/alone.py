"""What the outputs lose with one group lowered at a time; some groups may tell of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from hago.progress import SILENT, Progress
from hago.search.cache import Cache
from hago.search.evaluate import capped_noise
from hago.search.metrics import Outputs
from hago.search.space import Assignment, Space

Run = Callable[[Assignment], Outputs]
Figure = Callable[[Outputs], float]
Row = tuple[float, ...]  # by option
Rows = Mapping[int, Row]  # by number of group
Table = tuple[Row, ...]  # by group


@dataclass(frozen=True)
class Pace:
    """In which ``order`` groups are lowered (by number; the space's, if None), and until when.

    What ``cache`` has is not found again, and costs no time.
    """

    order: Sequence[int] | None = None
    is_over: Callable[[], bool] = lambda: False
    cache: Cache | None = None
    progress: Progress = SILENT


EVERY = Pace()


def measure_noise(space: Space, run: Run, exact: Outputs, pace: Pace = EVERY) -> Table:
    """For each group and option the noise share of the outputs with that one group lowered.

    ``exact`` are the float outputs.
    """
    rows = measure_alone(space, run, {"noise": lambda o: capped_noise(o, exact)}, pace)["noise"]
    return tuple(rows[number] for number in range(len(space.groups)))


def measure_alone(
    space: Space, run: Run, figures: Mapping[str, Figure], pace: Pace
) -> dict[str, Rows]:
    """``figures`` of the outputs with one group lowered, for each option; 0 in float32.

    Groups that ``pace`` left no time for are missing. The outputs are computed once for all
    figures.
    """
    found: dict[str, dict[int, Row]] = {name: {} for name in figures}
    order = range(len(space.groups)) if pace.order is None else pace.order
    for group in pace.progress.track(order, "sensitivity", len(order)):
        values = _lower(space, group, run, figures, pace)
        if values is not None:
            for name, rows in found.items():
                rows[group] = (0.0, *(value[name] for value in values))
    return dict(found)


def _lower(
    space: Space, group: int, run: Run, figures: Mapping[str, Figure], pace: Pace
) -> list[Mapping[str, float]] | None:
    """The figures of the options below float32; None where time is over before all are known."""
    options = space.groups[group].options
    found: list[Mapping[str, float]] = []
    for option in range(1, len(options)):
        key = {"group": space.groups[group].name, "option": options[option].name}
        values = _cached(figures, key, pace.cache)
        if values is None:
            if pace.is_over():
                return None
            outputs = run(only(space, {group: option}))
            values = {name: figure(outputs) for name, figure in figures.items()}
            _keep(values, key, pace.cache)
        found.append(values)
    return found


def only(space: Space, options: Mapping[int, int]) -> Assignment:
    """All groups in float32 but for those with ``options``."""
    return tuple(options.get(group, 0) for group in range(len(space.groups)))


def share_out(
    space: Space, known: Rows, noise_of: Callable[[Assignment], float], likely: Table | None
) -> Table:
    """``known`` noises, and for all other groups their shares of what these make together.

    ``noise_of`` measures that, once a level. Half of it is shared as ``likely`` says (noises in any
    unit), half evenly: no group is without noise.
    """
    rest = [group for group in range(len(space.groups)) if group not in known]
    found = {group: [0.0] * len(space.groups[group].options) for group in rest}
    for number, level in enumerate(space.levels()[1:] if rest else (), start=1):
        whole = noise_of(only(space, {group: level[group] for group in rest}))
        guessed = {group: likely[group][level[group]] if likely else 0.0 for group in rest}
        total = sum(guessed.values())
        for group in rest:
            even = 1 / len(rest)
            share = (guessed[group] / total + even) / 2 if total else even
            if level[group] == number:
                found[group][number] = whole * share
    return tuple(
        tuple(known.get(group, found.get(group, ()))) for group in range(len(space.groups))
    )


def _cached(
    names: Iterable[str], key: Mapping[str, str], cache: Cache | None
) -> dict[str, float] | None:
    """The figures of ``key``, where all of them are known."""
    if cache is None:
        return None
    found = {name: cache.get({**key, "figure": name}) for name in names}
    known = {name: value for name, value in found.items() if value is not None}
    return known if len(known) == len(found) else None


def _keep(values: Mapping[str, float], key: Mapping[str, str], cache: Cache | None) -> None:
    if cache is not None:
        for name, value in values.items():
            cache.put({**key, "figure": name}, value)
