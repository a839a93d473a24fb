"""Small search problems whose best strategies are known by trying all of them."""

from __future__ import annotations

from itertools import product

import numpy as np

from hago.graph import Edge
from hago.scheme import BFLOAT16, INT8, QuantScheme
from hago.search.goal import Figures, Goal
from hago.search.problem import DropCurve, Problem, SizeLine, Table
from hago.search.proposers.proposer import History, history_of
from hago.search.records import Record
from hago.search.space import FLOAT, Assignment, Group, Option, Space


def space_of(*counts: int, weights: int = 1000) -> Space:
    """Groups with so many options of float32, bfloat16 and int8."""
    groups = []
    for number, count in enumerate(counts):
        edge = Edge(f"v{number}", f"conv2d_{number}", 0)
        low = [
            Option("bfloat16", 16, {edge: QuantScheme(BFLOAT16)}),
            Option("int8", 8, {edge: QuantScheme(INT8)}),
        ]
        groups.append(Group(f"conv2d_{number}", (edge,), (FLOAT, *low[: count - 1]), weights))
    return Space(tuple(groups))


def problem_of(seed: int, goal: Goal, groups: int = 5) -> Problem:
    """Random noises, and tables over pairs of neighbours: latencies do not add by group."""
    random = np.random.default_rng(seed)
    space = space_of(*random.integers(2, 4, groups).tolist())
    noise = tuple(
        (0.0, *np.sort(random.exponential(1e-3, len(g.options) - 1)).tolist()) for g in space.groups
    )
    tables = []
    for first in range(groups - 1):
        pair = (first, first + 1)
        counts = [range(len(space.groups[g].options)) for g in pair]
        tables.append(Table(pair, {c: float(random.uniform(0.1, 1)) for c in product(*counts)}))
    return Problem(space, goal, noise, tuple(tables), 1.0, SizeLine(24_000.0, 0.8))


def every_assignment(problem: Problem) -> list[Assignment]:
    return list(product(*(range(len(group.options)) for group in problem.space.groups)))


def tried(problem: Problem, *assignments: Assignment, factor: float = 1.0) -> History:
    """The history of trials whose drop is ``factor`` times their predicted noise."""
    records = []
    for number, assignment in enumerate(assignments):
        found = problem.predict(assignment, DropCurve())
        measured = Figures(
            found.noise, factor * (found.noise or 0), found.latency_ms, found.size_bytes
        )
        names = tuple(problem.space.names(assignment))
        records.append(Record(number, "test", names, found, found, measured))
    return history_of(problem, records)
