"""Ways of proposing what to try next, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hago.errors import StrategyError
from hago.sample import did_you_mean
from hago.search.problem import Problem
from hago.search.proposers.annealing import Annealing
from hago.search.proposers.evolution import Evolution
from hago.search.proposers.greedy import Greedy
from hago.search.proposers.milp import Milp
from hago.search.proposers.proposer import History, Proposer
from hago.search.proposers.uniform import Uniform
from hago.search.space import Assignment

PROPOSERS: Mapping[str, Proposer] = {
    "milp": Milp(),
    "greedy": Greedy(),
    "evolution": Evolution(),
    "annealing": Annealing(),
    "random": Uniform(),
}

# Integer programming while it has something new; the others take turns.
DEFAULT = ("milp", "greedy", "evolution", "annealing")


def find_proposers(names: Sequence[str]) -> tuple[str, ...]:
    """``names``, all of which exist. Raises StrategyError."""
    for name in names:
        if name not in PROPOSERS:
            raise StrategyError(
                f"no proposer '{name}'{did_you_mean(name, PROPOSERS)}",
                fact=f"hago knows {', '.join(PROPOSERS)}",
            )
    return tuple(names)


def propose(
    names: Sequence[str], problem: Problem, history: History, seed: int
) -> tuple[str, Assignment] | None:
    """The next strategy and who proposed it; None where nobody has one.

    The first of ``names`` is asked first, the others in turns. The random state depends on
    ``seed`` and on how many trials there were, on nothing else.
    """
    trial = len(history.records)
    others = list(names[1:])
    turn = trial % len(others) if others else 0
    for name in (names[0], *others[turn:], *others[:turn]):
        random = np.random.default_rng([seed, trial])
        found = PROPOSERS[name].propose(problem, history, random)
        if found is not None:
            return name, found
    return None
