"""What a search is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hago.errors import StrategyError
from hago.sample import Sample
from hago.search.goal import Goal
from hago.search.proposers import DEFAULT, find_proposers
from hago.search.tracker import Tracker

Data = str | Path | Iterable[Sample]


@dataclass(frozen=True)
class Effort:
    """How much may be spent, and how.

    ``budget_s`` is for the session, all of its runs together; ``trials`` (None: no limit) counts
    the same way. ``trial_limit_s`` is for one build or measurement. ``seed`` decides what is drawn
    at random; ``proposers`` are asked in this order. ``anew`` begins again where a session's
    figures are those of another version or computer.
    """

    budget_s: float = 600.0
    trials: int | None = None
    trial_limit_s: float = 300.0
    seed: int = 0
    proposers: tuple[str, ...] = DEFAULT
    anew: bool = False

    def __post_init__(self) -> None:
        find_proposers(self.proposers)
        if not self.proposers:
            raise StrategyError("a search needs a proposer")
        for name, value in (("budget", self.budget_s), ("trial limit", self.trial_limit_s)):
            if value <= 0:
                raise StrategyError(
                    f"a {name} of {value:g} s: no time to measure anything",
                    way_out=f"Give a longer one, for example --{name.replace(' ', '-')} 10m.",
                )


@dataclass(frozen=True)
class Request:
    """A model, a machine, data, and a goal.

    ``data`` calibrates, ``judged_on`` (the same if None) is what accuracy is measured on: its first
    ``samples`` samples, with ``labels`` (an .npy) where the ``metric`` needs them. ``cache`` keeps
    latencies across sessions. Latencies are measured on devices of ``tracker``, or here;
    accuracy is evaluated on the workers of the dask scheduler ``cluster``, or here. Libraries are
    stored ``compressed``: their size counts as it is then. Kernels are built as ``kernel_cache``
    knew them to be fastest on this computer when the session began; without one, and on devices
    of a tracker, each template chooses.
    """

    model: Path
    hardware: str
    data: Data
    goal: Goal
    recipe: tuple[str, ...] = ("mse",)
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    threads: int = 1
    metric: str = "top1"
    judged_on: Data | None = None
    labels: Path | None = None
    samples: int = 32
    cache: Path | None = None
    tracker: Tracker | None = None
    cluster: str | None = None
    compressed: bool = False
    kernel_cache: Path | None = None
