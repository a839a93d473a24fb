"""A network whose kernels are raced, and what that makes of it as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from hago.deploy.bench import clock_for, random_sample
from hago.deploy.kernels import time_kernels
from hago.deploy.load import load
from hago.errors import BuildError
from hago.hardware.host import kernels_of, missing_features
from hago.hardware.spec import HardwareSpec
from hago.kernel_search.search import Races, contests_of, tune_kernels
from hago.kernel_search.turns import Rounds, take_turns
from hago.lower.calls import KernelCall
from hago.lower.select import schedules
from hago.progress import Progress
from hago.report import KernelReport
from hago.search.runner import LocalRunner
from hago.search.winners import Winner, Winners

_RACE_S = 120.0  # after which a race hangs
_ROUNDS = 15  # of the whole network


def check_tunable(spec: HardwareSpec) -> None:
    """Raises BuildError where kernels for ``spec`` cannot be measured on this computer."""
    missing = missing_features(kernels_of(spec))
    if spec.is_gpu or missing:
        raise BuildError(
            f"kernels for {spec.name} cannot be raced here",
            fact="those of GPUs have no schedules"
            if spec.is_gpu
            else f"this computer lacks {', '.join(missing)}",
            way_out="Leave out --tune-kernels, or compile on such a machine.",
        )


def tune_network(
    folder: Path,
    calls: Sequence[KernelCall],
    spec: HardwareSpec,
    winners: Winners,
    threads: int,
    budget_s: float,
    progress: Progress,
) -> tuple[KernelReport, ...]:
    """Races the kernels that the artifact in ``folder`` calls; ``winners`` keeps what wins."""
    contests = contests_of(calls, time_kernels(folder, calls, threads), winners)
    with closing(LocalRunner(_RACE_S, threads)) as runner:
        races = Races(kernels_of(spec), winners, runner, threads)
        return tune_kernels(contests, races, budget_s, progress)


def compare(before: Path, after: Path, threads: int) -> Rounds:
    """Two artifacts of one network, in turns."""
    models = [load(folder, threads) for folder in (before, after)]
    sample = random_sample(models[0].inputs)
    return take_turns([partial(each.run, sample) for each in models], _ROUNDS, clock_for(threads))


def forget(winners: Winners, calls: Sequence[KernelCall]) -> None:
    """The template's own choice wins for each of ``calls``: the network is slower with others."""
    for call in calls:
        winner = winners.find(call.workload, call.epilogue)
        if winner is not None:
            first = str(schedules(call.workload, winners.machine)[0])
            kept = Winner(first, winner.default_us, winner.default_us)
            winners.keep(call.workload, call.epilogue, kept)
