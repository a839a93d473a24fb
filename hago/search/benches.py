"""How a search builds what it measures, and where it keeps the latencies."""

from __future__ import annotations

from pathlib import Path

from hago.hardware.host import kernels_of
from hago.lower.lower import Compact, by_template
from hago.lower.select import machine_of
from hago.search.cache import Cache, default_cache
from hago.search.latency import Bench, Latencies
from hago.search.request import Request
from hago.search.runner import Runner
from hago.search.session import Session
from hago.search.subject import Subject
from hago.search.winners import Winners, open_winners
from hago.search.work import Setting


def latency_cache(request: Request) -> Cache:
    """Where sessions keep what they measured for each other."""
    return Cache(request.cache or default_cache())


def own_cache(folder: Path) -> Cache:
    """Where the session in ``folder`` keeps what only it measures."""
    return Cache(folder / "cache")


def find_winners(subject: Subject, session: Session) -> Winners | None:
    """The schedules that the session's kernels take; None where their templates choose."""
    request = subject.request
    # What was raced here says nothing of the devices of a tracker.
    if request.kernel_cache is None or request.tracker is not None or not subject.is_timed:
        return None
    kernels = kernels_of(subject.spec)
    known = open_winners(Cache(request.kernel_cache), kernels, request.threads)
    return None if known is None else session.kernels(known)


def setting_of(subject: Subject, winners: Winners | None) -> Setting:
    """How all trials are built. Where size counts, kernels keep their weights as they are."""
    spec, request = subject.spec, subject.request
    choose = by_template if winners is None else winners.choose
    if request.goal.needs_size:
        choose = Compact(choose, machine_of(spec))
    return Setting(spec, request.threads, choose)


def find_latencies(
    subject: Subject, runner: Runner, winners: Winners | None, folder: Path
) -> Latencies | None:
    """What is known of the latencies of sub-graphs; None where none are needed or none can be
    measured."""
    if not (subject.is_timed and subject.request.goal.needs_latency):
        return None
    key = _latency_key(subject, winners)
    failed = own_cache(folder).scoped({**key, "what": "failed"})
    cache = latency_cache(subject.request).scoped(key)
    bench = Bench(runner, setting_of(subject, winners), cache, failed)
    return Latencies(subject.numbers, subject.segments, bench)


def _latency_key(subject: Subject, winners: Winners | None) -> dict[str, str]:
    """What latencies depend on, beside the sub-graph: with it, how kernels are cut."""
    known = "" if winners is None else winners.digest
    key = {**subject.latency_key, **({"kernels": known} if known else {})}
    return {**key, "weights": "as they are"} if subject.request.goal.needs_size else key
