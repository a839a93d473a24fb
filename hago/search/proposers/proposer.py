"""The shape that every way of proposing strategies has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hago.search.problem import Problem
from hago.search.records import Record
from hago.search.space import Assignment


@dataclass(frozen=True, eq=False)
class History:
    """The trials so far, with their assignments."""

    records: tuple[Record, ...]
    assignments: tuple[Assignment, ...]

    def find(self, assignment: Assignment) -> Record | None:
        """The trial of ``assignment``, if it was tried."""
        pairs = zip(self.assignments, self.records, strict=True)
        return next((record for tried, record in pairs if tried == assignment), None)

    def ranked(self, problem: Problem) -> list[Assignment]:
        """What was tried without error, the best first."""
        pairs = [
            (problem.goal.rank(record.known), number)
            for number, record in enumerate(self.records)
            if not record.error
        ]
        return [self.assignments[number] for _, number in sorted(pairs)]


def history_of(problem: Problem, records: Sequence[Record]) -> History:
    return History(tuple(records), tuple(problem.space.parse(r.precisions) for r in records))


class Proposer(Protocol):
    """A pure function of what is known: the same history and random state, the same proposal."""

    def propose(
        self, problem: Problem, history: History, random: np.random.Generator
    ) -> Assignment | None:
        """A strategy that was not tried yet; None where this way has nothing left."""
