"""The latencies of the kernels of an artifact, each called alone: the library has them all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import tvm

from hago.deploy.bench import measure_cost
from hago.deploy.load import load
from hago.lower.calls import KernelCall
from hago.scheme import BFLOAT16_ARRAY

_SECONDS = 0.02  # of repeated calls; kernels take microseconds
_MIDDLE = 127  # codes are drawn from the lower half: any 8-bit type has them


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
            arguments = [_random(shape, dtype) for shape, dtype in call.arguments]
            timing = measure_cost(partial(kernel, *arguments), threads, _SECONDS)
            found[call.function] = timing.median_ms
    return found


def _random(shape: tuple[int, ...], dtype: str) -> tvm.runtime.Tensor:
    """Normal values for floats, codes for 8-bit integers, ones for indices and masks."""
    random = np.random.default_rng(0)
    kind = BFLOAT16_ARRAY if dtype == "bfloat16" else np.dtype(dtype)
    if dtype in ("int8", "uint8"):
        return tvm.runtime.tensor(random.integers(0, _MIDDLE, shape).astype(kind))
    if kind.kind in "iub":
        return tvm.runtime.tensor(np.ones(shape, kind))
    return tvm.runtime.tensor(random.standard_normal(shape).astype(kind))
