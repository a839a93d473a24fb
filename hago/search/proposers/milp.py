"""Integer programming: the best strategy of the additive model, inside a budget of noise.

    min  sum of latencies of configurations        s.t.  sum of noises <= budget

Each group takes one option; each sub-graph has one configuration, which agrees with its groups.
The budget is what the bound on accuracy would be if noise were all; it is closed in on between
trials that kept the bound and trials that did not (AdaQuant, arXiv 2006.10518, section 3.3, and
arXiv 2505.13060).
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from hago.search.problem import Problem
from hago.search.proposers.proposer import History
from hago.search.records import Record
from hago.search.space import Assignment

_STEPS = 40
_CLOSE = 1.02  # budgets whose quotient is smaller are one budget
_LEAST_STEP = 0.25  # of the logarithm of the quotient that is left
_FIRST_STEP = 1.5  # a quotient: before a trial has kept the bound
_TIGHTER = 0.97  # the latency and size bounds, each time that a trial exceeded them
_LIMIT_S = 20.0
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Milp:
    """Solves for one budget after the other until a solution is new."""

    def propose(
        self, problem: Problem, history: History, random: np.random.Generator
    ) -> Assignment | None:
        if problem.goal.max_drop is None:
            return _within_bounds(problem, history)
        low, high = _bracket(problem, history)
        for _ in range(_STEPS):
            is_closed = high.noise / low.noise < _CLOSE
            budget = low.noise if is_closed else _between(low, high, problem)
            found = solve(problem, budget)
            record = None if found is None else history.find(found)
            if found is not None and record is None:
                return found
            if is_closed or high.noise == math.inf:
                return None
            if found is None or record is None or _is_kept(problem, record):
                low = max(low, replace(low, noise=budget), key=lambda end: end.noise)
            else:
                high = min(high, _end(problem, found, record), key=lambda end: end.noise)
        return None


@dataclass(frozen=True)
class _End:
    """A budget of noise, and the drop of what had it; ``is_tried`` is false where nothing had."""

    noise: float
    drop: float
    is_tried: bool = True


def _end(problem: Problem, assignment: Assignment, record: Record) -> _End:
    drop = record.known.drop
    return _End(problem.noise_of(assignment), math.inf if drop is None else drop)


def _bracket(problem: Problem, history: History) -> tuple[_End, _End]:
    """The most noise that kept the bound, and the least that did not, of all trials so far.

    A trial that failed says nothing about noise.
    """
    tried = zip(history.assignments, history.records, strict=True)
    pairs = [(_end(problem, a, r), _is_kept(problem, r)) for a, r in tried if not r.error]
    broken = [end for end, is_kept in pairs if not is_kept and end.noise > 0]
    high = min(broken, key=lambda end: end.noise, default=_End(math.inf, math.inf, False))
    kept = [end for end, is_kept in pairs if is_kept and 0 < end.noise < high.noise]
    least = _End(_least_noise(problem), 0.0, False)
    return max(kept, key=lambda end: end.noise, default=least), high


def _between(low: _End, high: _End, problem: Problem) -> float:
    """The budget at which a drop that rises straight with the noise to the problem's power meets
    the bound, away from both ends; infinite where ``high`` is."""
    if high.noise == math.inf:
        return math.inf
    assert problem.goal.max_drop is not None
    power = problem.drop_power
    share = (problem.goal.max_drop - low.drop) / (high.drop - low.drop)
    reach = low.noise**power + share * (high.noise**power - low.noise**power)
    step = (high.noise / low.noise) ** _LEAST_STEP
    most = high.noise / (step if low.is_tried else min(step, _FIRST_STEP))
    return min(max(reach ** (1 / power), low.noise * step), most)


def _is_kept(problem: Problem, record: Record) -> bool:
    """Whether a trial kept the bound on accuracy, as far as is known; failures did not."""
    bound, drop = problem.goal.max_drop, record.known.drop
    return not record.error and drop is not None and (bound is None or drop <= bound)


def _within_bounds(problem: Problem, history: History) -> Assignment | None:
    """The least noise within bounds that are tightened until a solution is new, or keeps them."""
    share = 1.0
    for _ in range(_STEPS):
        found = solve(problem, math.inf, share)
        record = None if found is None else history.find(found)
        if found is None or record is None:
            return found
        if not record.error and not problem.goal.violation(record.known):
            return None
        share *= _TIGHTER
    return None


def _least_noise(problem: Problem) -> float:
    """Less than any noise that there is."""
    return min((n for row in problem.noise for n in row if n > 0), default=1e-9) / 2


@dataclass(frozen=True)
class _Program:
    """Rows of the program; variables are options by group, then configurations by table."""

    objective: Vector
    equal: csr_array
    equal_to: Vector
    at_most: tuple[tuple[Vector, float], ...]
    options: int


def solve(problem: Problem, budget: float, share: float = 1.0) -> Assignment | None:
    """The best assignment whose noises sum up to ``budget`` at most; None where there is none.

    Bounds on latency and size are multiplied by ``share``.
    """
    program = _program(problem, budget, share)
    count = len(program.objective)
    integral = np.zeros(count)
    integral[: program.options] = 1  # configurations follow from the options
    limits = [LinearConstraint(row[np.newaxis], ub=bound) for row, bound in program.at_most]
    agreement = LinearConstraint(program.equal, program.equal_to, program.equal_to)
    with _quiet_stdout():
        result = milp(
            program.objective,
            integrality=integral,
            bounds=Bounds(0, _upper(problem, count)),
            constraints=[agreement, *limits],
            options={"time_limit": _LIMIT_S},
        )
    if result.x is None:
        return None
    starts = _starts(problem)
    return tuple(
        int(np.argmax(result.x[start : start + len(group.options)]))
        for start, group in zip(starts, problem.space.groups, strict=True)
    )


def _upper(problem: Problem, count: int) -> Vector:
    """1 for every variable, but 0 for options that are dominated."""
    upper = np.ones(count)
    for start, group, left in zip(
        _starts(problem), problem.space.groups, problem.choices, strict=True
    ):
        dominated = [start + option for option in range(len(group.options)) if option not in left]
        upper[dominated] = 0
    return upper


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Nothing reaches stdout: HiGHS prints debugging lines there that no option turns off."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _program(problem: Problem, budget: float, share: float) -> _Program:
    options = sum(len(group.options) for group in problem.space.groups)
    configurations = sum(len(table.latency_ms) for table in problem.tables)
    count = options + configurations
    latency, noise, size = np.zeros(count), np.zeros(count), np.zeros(count)
    noise[:options] = [value for row in problem.noise for value in row]
    size[:options] = [
        group.weight_bytes(option) for group in problem.space.groups
        for option in range(len(group.options))
    ]  # fmt: skip
    latency[options:] = [
        problem.latency_factor * value for t in problem.tables for value in t.latency_ms.values()
    ]
    equal, equal_to = _agreement(problem, options, count)
    goal = problem.goal
    objective = {"latency": latency, "size": size, "accuracy": noise}[goal.objective]
    limits = [(noise, budget)]
    if goal.max_latency_ms is not None:
        limits.append((latency, share * goal.max_latency_ms))
    if goal.max_size_bytes is not None and problem.sizes is not None:
        sizes = problem.sizes
        limits.append((sizes.density * size, share * goal.max_size_bytes - sizes.base))
    at_most = tuple(_scaled(row, bound) for row, bound in limits if bound < math.inf)
    scale = max(float(np.abs(objective).max()), 1e-30)
    return _Program(objective / scale, equal, equal_to, at_most, options)


def _scaled(row: Vector, bound: float) -> tuple[Vector, float]:
    """Tolerances of solvers are absolute: the bound becomes 1."""
    if bound <= 0:
        return row, bound
    return row / bound, 1.0


def _starts(problem: Problem) -> list[int]:
    sizes = [len(group.options) for group in problem.space.groups]
    return [0, *np.cumsum(sizes)[:-1].tolist()]


def _agreement(problem: Problem, options: int, count: int) -> tuple[csr_array, Vector]:
    """One option a group; for each group of a table, as much of its configurations as of it."""
    rows = list(_agreements(problem, options))
    places = [(number, column) for number, (row, _) in enumerate(rows) for column in row]
    values = [value for row, _ in rows for value in row.values()]
    indices = np.array(places).T
    matrix = csr_array((values, (indices[0], indices[1])), shape=(len(rows), count))
    return matrix, np.array([right for _, right in rows])


def _agreements(problem: Problem, options: int) -> Iterator[tuple[dict[int, float], float]]:
    starts, groups = _starts(problem), problem.space.groups
    for start, group in zip(starts, groups, strict=True):
        yield {start + option: 1.0 for option in range(len(group.options))}, 1.0
    first = options
    for table in problem.tables:
        configs = list(table.latency_ms)
        if not table.groups:
            yield {first: 1.0}, 1.0
        for place, number in enumerate(table.groups):
            for option in range(len(groups[number].options)):
                row = {first + i: 1.0 for i, c in enumerate(configs) if c[place] == option}
                yield {**row, starts[number] + option: -1.0}, 0.0
        first += len(configs)
