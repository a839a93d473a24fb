"""The search itself: from a request to the best artifact that the budget allows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hago.clock import Clock
from hago.progress import SILENT, Progress
from hago.search.benches import find_winners, latency_cache
from hago.search.cluster import simulating_on
from hago.search.course import Course, Watch
from hago.search.outcome import Outcome
from hago.search.request import Effort, Request
from hago.search.rpc_runner import RpcRunner
from hago.search.runner import LocalRunner, Runner
from hago.search.session import open_session
from hago.search.subject import BuildSimulation, build_subject


def tune(
    request: Request,
    session: Path,
    effort: Effort | None = None,
    progress: Progress = SILENT,
    watch: Watch = lambda outcome: None,
    runner: Runner | None = None,
) -> Outcome:
    """Searches in the folder ``session`` (new, or as it was left) until the budget is spent.

    ``watch`` sees the outcome so far after each trial. ``runner`` is where trials run: the devices
    of the request's tracker, or a process of their own. KeyboardInterrupt ends the search in order.
    Raises a HagoError for what cannot be searched, and for a session that is in use, damaged, or
    about something else.
    """
    effort, clock, start = effort or Effort(), Clock(progress), time.monotonic()
    with (
        open_session(session) as opened,
        _running(runner, request, effort) as worker,
        _simulating(request, effort) as simulation,
    ):
        if request.goal.needs_latency:
            latency_cache(request).check()
        subject = build_subject(request, clock, partial(opened.check, anew=effort.anew), simulation)
        winners = find_winners(subject, opened)
        return Course(subject, effort, opened, worker, winners, clock, watch, start).run()


@contextmanager
def _running(runner: Runner | None, request: Request, effort: Effort) -> Iterator[Runner]:
    own = runner or _runner(request, effort)
    try:
        yield own
    finally:
        own.close()


@contextmanager
def _simulating(request: Request, effort: Effort) -> Iterator[BuildSimulation | None]:
    if request.cluster is None:
        yield None
        return
    with simulating_on(request.cluster, effort.trial_limit_s) as build:
        yield build


def _runner(request: Request, effort: Effort) -> Runner:
    if request.tracker is not None:
        return RpcRunner(request.tracker, effort.trial_limit_s)
    return LocalRunner(effort.trial_limit_s, request.threads)
