"""What each rounding costs the outputs: alone, and together with all that come before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hago.progress import Progress
from hago.sample import Sample
from hago.search.alone import Pace, measure_noise
from hago.search.evaluate import Simulate, capped_noise
from hago.search.metrics import Outputs
from hago.search.space import Space

_MOST_DB = 200.0  # of outputs that are equal
_LIFTED = (0, 1, 2, 4, 8, 16)


@dataclass(frozen=True, eq=False)
class Costs:
    """Noise over signal power of the outputs (1e-3 is 30 dB) for each group of a space.

    ``alone`` is that of a group by itself, ``together`` that of it and all groups before it in
    program order; ``exact`` are the float32 outputs, ``rounded`` those with all groups.
    """

    alone: tuple[float, ...]
    together: tuple[float, ...]
    exact: Outputs
    rounded: Outputs


def measure_costs(
    space: Space,
    simulate: Simulate,
    samples: Sequence[Sample],
    progress: Progress,
    exact: Outputs | None = None,
) -> Costs:
    """The costs of all groups on ``samples``: two runs of the simulation a group and sample.

    ``exact`` are the outputs of the float model where the simulation without any rounding is
    another (its tables were rounded): a group alone is compared with that,
    all of them together with the float model.
    """
    unrounded = simulate(space.floats, samples)
    exact = unrounded if exact is None else exact
    alone = measure_noise(
        space, lambda choice: simulate(choice, samples), unrounded, Pace(progress=progress)
    )
    together = []
    rounded = unrounded
    count = len(space.groups)
    for number in progress.track(range(1, count + 1), "one after the other", count):
        rounded = simulate((1,) * number + (0,) * (count - number), samples)
        together.append(capped_noise(rounded, exact))
    return Costs(tuple(noise[1] for noise in alone), tuple(together), exact, rounded)


def measure_lifted(
    space: Space, simulate: Simulate, samples: Sequence[Sample], costs: Costs
) -> dict[int, float]:
    """The noise share of the outputs with the worst 0, 1, 2, 4, .. groups left in float32."""
    order = sorted(range(len(space.groups)), key=lambda group: -costs.alone[group])
    found = {}
    for count in _LIFTED:
        if count < len(order):
            kept = set(order[:count])
            choice = tuple(int(group not in kept) for group in range(len(order)))
            found[count] = capped_noise(simulate(choice, samples), costs.exact)
    return found


def decibels(noise: float) -> float:
    """The SQNR in dB of a noise share; at most 200."""
    return _MOST_DB if noise <= 0 else min(_MOST_DB, -10 * math.log10(noise))
