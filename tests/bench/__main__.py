"""``python -m tests.bench``: hago beside its peers on the zoo, all in one run, taking turns."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from pathlib import Path

from rich.console import Console

# The seven whose latencies the project is judged by.
MODELS = (
    "resnet18", "resnet50", "mobilenetv2", "efficientnet_lite0", "deit_tiny", "minilm", "bert_base",
)  # fmt: skip


def main() -> None:
    """Pin, restrict, measure, show."""
    arguments = _parse()
    os.sched_setaffinity(0, arguments.cores)
    arguments.restricted = () if arguments.layers else _restrict(arguments.hw, arguments.cache)
    from tests.bench.layers import bench_layers
    from tests.bench.run import bench_models

    console = Console(stderr=bool(arguments.json and str(arguments.json) == "-"))
    if arguments.layers:
        document = bench_layers(arguments, console)
    else:
        document = bench_models(arguments, console)
    if arguments.json:
        _write(document, arguments.json)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--models", type=_names, default=MODELS, metavar="NAME,...")
    parser.add_argument("--only", type=_names, default=(), metavar="RUNTIME,...",
                        help="hago, onnxruntime, openvino; default: all")  # fmt: skip
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cores", type=_cores, help="CPUs to be pinned to; default: the first")
    parser.add_argument("--hw", help="hardware specification; default: the best that runs here")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each contestant's calls")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall",
                        help="cpu: the process's CPU time, for a busy machine")  # fmt: skip
    parser.add_argument("--samples", type=int, default=8, help="for quantization")
    parser.add_argument("--layers", action="store_true", help="hago's kernels on the roofline")
    parser.add_argument("--precision", default="float32", help="of --layers: float32 or int8")
    parser.add_argument("--json", type=Path, help="a file, or - for stdout")
    parser.add_argument("--plot", type=Path, help="a picture: .svg or .png")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "hago" / "bench",
                        help="where quantized models of peers are kept")  # fmt: skip
    arguments = parser.parse_args()
    if arguments.clock == "cpu" and arguments.threads > 1:
        parser.error("CPU time is the latency of one thread only")
    arguments.cores = arguments.cores or sorted(os.sched_getaffinity(0))[: arguments.threads]
    return arguments


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def _cores(text: str) -> list[int]:
    return [int(core) for core in text.split(",")]


def _restrict(machine: str | None, folder: Path) -> tuple[str, ...]:
    """The peers that are restricted to the instructions of ``machine``, before they load."""
    from tests.bench.instructions import hide
    from tests.bench.openvino_entries import ISA

    # Quantizers of peers give advice through the root logger; failures are shown as ABSENT.
    logging.getLogger().setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="nncf|openvino|onnxruntime")
    if machine not in ISA:
        return ()
    os.environ["ONEDNN_MAX_CPU_ISA"] = ISA[machine]
    restricted = ("openvino", "onnxruntime") if hide(machine, folder) else ("openvino",)
    print(f"restricted to {ISA[machine]}: {', '.join(restricted)}", file=sys.stderr)
    return restricted


def _write(document: object, path: Path) -> None:
    text = json.dumps(document, indent=1)
    if str(path) == "-":
        print(text)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
