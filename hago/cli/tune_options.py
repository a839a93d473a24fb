"""The options of ``hago tune``, by what they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Text = str | None
File = Path | None

# What is searched for.
MaxDrop = Annotated[
    Text, typer.Option("--max-drop", metavar="0.5%", help="Of the metric, against float32.")
]
MaxLatency = Annotated[Text, typer.Option("--max-latency", metavar="3ms")]
MaxSize = Annotated[Text, typer.Option("--max-size", metavar="12MB")]
Objective = Annotated[
    Text,
    typer.Option(
        "--objective",
        metavar="latency|size|accuracy",
        help="What to improve; by default latency, or accuracy if no --max-drop is given.",
    ),
]

# How accuracy is judged.
Data = Annotated[
    Path, typer.Option("--data", metavar="FILE", help="An .npz or a folder of .npy, by input.")
]
Metric = Annotated[
    str,
    typer.Option(
        "--metric",
        metavar="top1|accuracy|sqnr|cosine|kl|FILE.py:FUNCTION",
        help="How accuracy is measured: agreement with float32, or with --labels.",
    ),
]
EvalData = Annotated[
    File, typer.Option("--eval", metavar="FILE", help="To judge on, instead of --data.")
]
Labels = Annotated[File, typer.Option("--labels", metavar="FILE.npy")]
Samples = Annotated[int, typer.Option("--samples", min=1, help="To judge on.")]

# For how long, and how.
Session = Annotated[
    Path, typer.Option("--session", metavar="DIR", help="New, or to be continued.")
]
Budget = Annotated[
    str, typer.Option("--budget", metavar="10m", help="Time for all runs of the session.")
]
Trials = Annotated[int | None, typer.Option("--trials", min=1, help="No more than.")]
TrialLimit = Annotated[
    str, typer.Option("--trial-limit", metavar="5m", help="For a build or a measurement.")
]
Seed = Annotated[int, typer.Option("--seed", min=0)]
Proposers = Annotated[
    Text,
    typer.Option(
        "--proposers", metavar="NAME,...", help="milp, greedy, evolution, annealing, random."
    ),
]
Anew = Annotated[
    bool,
    typer.Option(
        "--anew", help="Measures again what another version or computer measured in a session."
    ),
]

# Where it is measured.
CacheFolder = Annotated[
    File, typer.Option("--cache", metavar="DIR", help="Latencies that sessions share.")
]
Tracker = Annotated[
    Text,
    typer.Option(
        "--rpc", metavar="HOST:PORT", help="A tracker: latencies are measured on its devices."
    ),
]
Key = Annotated[Text, typer.Option("--key", metavar="K", help="Which devices of the tracker.")]
Cluster = Annotated[
    Text,
    typer.Option(
        "--cluster",
        metavar="SCHEDULER",
        help="Dask's, HOST:PORT: accuracy is evaluated on its workers.",
    ),
]
