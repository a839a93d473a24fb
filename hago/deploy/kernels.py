"""The latencies of the kernels of an artifact, each called alone: the library has them all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import tvm

from hago.deploy.bench import measure_cost, random_array
from hago.deploy.load import load
from hago.lower.calls import KernelCall

_SECONDS = 0.02  # of repeated calls; kernels take microseconds


def time_kernels(
    folder: Path, calls: Iterable[KernelCall], threads: int = 1
) -> Mapping[str, float]:
    """Milliseconds of each kernel that ``calls`` name, on random arguments that lie in the cache.

    Raises BuildError as :func:`hago.deploy.load.load` does.
    """
    model, found = load(folder, threads), dict[str, float]()
    for call in calls:
        if call.function not in found:
            kernel = model.kernel(call.function)
            arguments = [tvm.runtime.tensor(random_array(*each)) for each in call.arguments]
            timing = measure_cost(partial(kernel, *arguments), threads, _SECONDS)
            found[call.function] = timing.median_ms
    return found
