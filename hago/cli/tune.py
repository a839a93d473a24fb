"""hago tune: searches the best precision of every edge, by measuring, for as long as it may."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hago.cli import tune_options as options
from hago.cli.options import (
    AsJson,
    Compress,
    Hardware,
    Model,
    NoKernelCache,
    Recipe,
    Shapes,
    Threads,
    UsageError,
    parse_shapes,
)
from hago.cli.places import parse_tracker
from hago.cli.quantities import (
    BYTES,
    MILLISECONDS,
    SECONDS,
    SHARES,
    parse_optional,
    parse_quantity,
)

if TYPE_CHECKING:
    from hago.search.goal import Goal
    from hago.search.request import Effort, Request

_INTERRUPTED = 130


def tune(
    model: Model,
    hw: Hardware,
    data: options.Data,
    session: options.Session,
    budget: options.Budget = "10m",
    max_drop: options.MaxDrop = None,
    max_latency: options.MaxLatency = None,
    max_size: options.MaxSize = None,
    objective: options.Objective = None,
    metric: options.Metric = "top1",
    eval_data: options.EvalData = None,
    labels: options.Labels = None,
    samples: options.Samples = 32,
    recipe: Recipe = None,
    shape: Shapes = None,
    threads: Threads = 1,
    seed: options.Seed = 0,
    trials: options.Trials = None,
    trial_limit: options.TrialLimit = "5m",
    proposers: options.Proposers = None,
    cache: options.CacheFolder = None,
    rpc: options.Tracker = None,
    key: options.Key = None,
    cluster: options.Cluster = None,
    anew: options.Anew = False,
    compress: Compress = False,
    no_kernel_cache: NoKernelCache = False,
    as_json: AsJson = False,
) -> None:
    """Search the precision of every edge of MODEL for a machine, by measuring.

    Each precision for all edges at once comes first, so that DIR/best is there early.
    Then at most half of the time that is left goes into what each group of edges
    costs alone, and the rest into mixes.
    """
    shapes = parse_shapes(shape)
    budget_s = parse_quantity(budget, SECONDS, "--budget")
    limit_s = parse_quantity(trial_limit, SECONDS, "--trial-limit")
    goal = _goal(objective, max_drop, max_latency, max_size)
    tracker = parse_tracker(rpc, key)
    from hago.pipeline import DEFAULT_RECIPE
    from hago.search.cache import default_cache
    from hago.search.request import Effort, Request

    effort = Effort(budget_s, trials, limit_s, seed, _proposers(proposers), anew)
    methods = DEFAULT_RECIPE if recipe is None else (recipe,)
    request = Request(
        model, hw, data, goal, methods, shapes, threads, metric, eval_data, labels, samples, cache,
        tracker, cluster, compress, None if no_kernel_cache else default_cache("kernels"),
    )  # fmt: skip
    _search(request, session, effort, as_json=as_json)


def _goal(
    objective: str | None, max_drop: str | None, max_latency: str | None, max_size: str | None
) -> Goal:
    """What the options ask for. Raises UsageError where they bound nothing."""
    drop = parse_optional(max_drop, SHARES, "--max-drop")
    latency = parse_optional(max_latency, MILLISECONDS, "--max-latency")
    size = parse_optional(max_size, BYTES, "--max-size")
    if drop is None and latency is None and size is None:
        raise UsageError(
            "no bound: what may the result cost?",
            fact="without one, the best is float32 or the fewest bits",
            way_out="Give --max-drop, --max-latency or --max-size.",
        )
    from hago.search.goal import Goal

    wanted = objective or ("accuracy" if drop is None else "latency")
    return Goal(wanted, drop, latency, size)  # type: ignore[arg-type]  # it checks the word itself


def _proposers(text: str | None) -> tuple[str, ...]:
    from hago.search.proposers import DEFAULT

    return DEFAULT if text is None else tuple(name.strip() for name in text.split(","))


def _search(request: Request, session: Path, effort: Effort, *, as_json: bool) -> None:
    """Runs the search and shows its outcome."""
    from hago.cli.render import print_json, terminal
    from hago.cli.show_tune import drawn_search, refuse_unmet, show_outcome
    from hago.search.tune import tune as search

    with drawn_search(effort.budget_s) as (progress, watch):
        outcome = search(request, session, effort, progress, watch)
    if as_json:
        print_json(outcome.to_json())
    else:
        show_outcome(terminal(), outcome)
    if outcome.stopped == "interrupted":
        raise typer.Exit(_INTERRUPTED)
    refuse_unmet(outcome)
