"""hago tune: searches the best precision of every edge, by measuring, for as long as it may."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hago.cli.options import (
    AsJson,
    Compress,
    Hardware,
    Model,
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

_INTERRUPTED = 130

Text = str | None
File = Path | None


def tune(
    model: Model,
    hw: Hardware,
    data: Annotated[
        Path, typer.Option("--data", metavar="FILE", help="An .npz or a folder of .npy, by input.")
    ],
    session: Annotated[
        Path, typer.Option("--session", metavar="DIR", help="New, or to be continued.")
    ],
    budget: Annotated[
        str, typer.Option("--budget", metavar="10m", help="Time for all runs of the session.")
    ] = "10m",
    max_drop: Annotated[
        Text, typer.Option("--max-drop", metavar="0.5%", help="Of the metric, against float32.")
    ] = None,
    max_latency: Annotated[Text, typer.Option("--max-latency", metavar="3ms")] = None,
    max_size: Annotated[Text, typer.Option("--max-size", metavar="12MB")] = None,
    objective: Annotated[
        Text,
        typer.Option(
            "--objective",
            metavar="latency|size|accuracy",
            help="What to improve; by default latency, or accuracy if no --max-drop is given.",
        ),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            "--metric",
            metavar="top1|accuracy|sqnr|cosine|kl|FILE.py:FUNCTION",
            help="How accuracy is measured: agreement with float32, or with --labels.",
        ),
    ] = "top1",
    eval_data: Annotated[
        File, typer.Option("--eval", metavar="FILE", help="To judge on, instead of --data.")
    ] = None,
    labels: Annotated[File, typer.Option("--labels", metavar="FILE.npy")] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="To judge on.")] = 32,
    recipe: Recipe = None,
    shape: Shapes = None,
    threads: Threads = 1,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="No more than.")] = None,
    trial_limit: Annotated[
        str, typer.Option("--trial-limit", metavar="5m", help="For a build or a measurement.")
    ] = "5m",
    proposers: Annotated[
        Text,
        typer.Option(
            "--proposers", metavar="NAME,...", help="milp, greedy, evolution, annealing, random."
        ),
    ] = None,
    cache: Annotated[
        File, typer.Option("--cache", metavar="DIR", help="Latencies that sessions share.")
    ] = None,
    rpc: Annotated[
        Text,
        typer.Option(
            "--rpc", metavar="HOST:PORT", help="A tracker: latencies are measured on its devices."
        ),
    ] = None,
    key: Annotated[
        Text, typer.Option("--key", metavar="K", help="Which devices of the tracker.")
    ] = None,
    cluster: Annotated[
        Text,
        typer.Option(
            "--cluster",
            metavar="SCHEDULER",
            help="Dask's, HOST:PORT: accuracy is evaluated on its workers.",
        ),
    ] = None,
    anew: Annotated[
        bool,
        typer.Option(
            "--anew", help="Measures again what another version or computer measured in a session."
        ),
    ] = False,
    compress: Compress = False,
    as_json: AsJson = False,
) -> None:
    """Search the precision of every edge of MODEL for a machine, by measuring."""
    shapes = parse_shapes(shape)
    budget_s = parse_quantity(budget, SECONDS, "--budget")
    limit_s = parse_quantity(trial_limit, SECONDS, "--trial-limit")
    drop = parse_optional(max_drop, SHARES, "--max-drop")
    latency = parse_optional(max_latency, MILLISECONDS, "--max-latency")
    size = parse_optional(max_size, BYTES, "--max-size")
    if drop is None and latency is None and size is None:
        raise UsageError(
            "no bound: what may the result cost?",
            fact="without one, the best is float32 or the fewest bits",
            way_out="Give --max-drop, --max-latency or --max-size.",
        )
    tracker = parse_tracker(rpc, key)
    from hago.pipeline import DEFAULT_RECIPE
    from hago.search.goal import Goal
    from hago.search.proposers import DEFAULT
    from hago.search.request import Effort, Request
    from hago.search.tune import tune as search

    wanted = objective or ("accuracy" if drop is None else "latency")
    goal = Goal(wanted, drop, latency, size)  # type: ignore[arg-type]  # it checks the word itself
    names = tuple(n.strip() for n in proposers.split(",")) if proposers is not None else DEFAULT
    effort = Effort(budget_s, trials, limit_s, seed, names, anew)
    methods = DEFAULT_RECIPE if recipe is None else (recipe,)
    request = Request(
        model, hw, data, goal, methods, shapes, threads, metric, eval_data, labels, samples, cache,
        tracker, cluster, compress,
    )  # fmt: skip
    from hago.cli.render import print_json, terminal
    from hago.cli.show_tune import drawn_search, refuse_unmet, show_outcome

    with drawn_search(budget_s) as (progress, watch):
        outcome = search(request, session, effort, progress, watch)
    if as_json:
        print_json(outcome.to_json())
    else:
        show_outcome(terminal(), outcome)
    if outcome.stopped == "interrupted":
        raise typer.Exit(_INTERRUPTED)
    refuse_unmet(outcome)
