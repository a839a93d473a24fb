"""What tests of whole searches share: a subject that is made ready once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hago.realize import interpret
from hago.search import subject
from hago.search import tune as search
from hago.simulate import simulate


def interpreted(numbers):
    """The simulated module interpreted: compiling it takes longer than all of these trials."""
    simulation = simulate(numbers.graph)
    names = simulation.module["main"].attrs["hago.output_names"]

    def run(assignment, samples):
        arguments = simulation.arguments(numbers.model(assignment))
        return [
            dict(zip(names, interpret(simulation.module, {**arguments, **s}), strict=True))
            for s in samples
        ]

    return run


@pytest.fixture(scope="session")
def subjects():
    return {}


@pytest.fixture
def prepared_once(monkeypatch, subjects):
    """What does not depend on goal and folder is made once for all tests."""

    def build(request, clock, check, simulation):
        key = request.metric, request.recipe, request.hardware, request.goal.needs_size
        if key not in subjects:
            subjects[key] = subject.build_subject(request, clock, lambda identity: None)
        check({**subjects[key].identity, "recipe": ",".join(request.recipe)})
        return replace(subjects[key], request=request)

    monkeypatch.setattr(subject, "build_simulation", interpreted)
    monkeypatch.setattr(search, "build_subject", build)
