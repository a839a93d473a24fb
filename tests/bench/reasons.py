"""Why a kernel stays far below the roofline, where it does: what the roofline does not count."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

LOW = 0.4  # of the roofline: whatever is below needs a reason
_SHORT = 5.0  # us: the call and the clock take about one of them


@dataclass(frozen=True)
class Reason:
    """``text`` holds for kernels whose name, workload, and microseconds a call ``fits``."""

    fits: Callable[[str, str, float], bool]
    text: str


# The first that fits is given.
REASONS = (
    Reason(
        lambda name, workload, us: name.startswith("vm."),
        "bookkeeping of the interpreter that times kernels; compiled models have what stands "
        "beside kernels",
    ),
    Reason(
        lambda name, workload, us: us < _SHORT,
        f"shorter than {_SHORT:g} us, of which the call and the clock take about one",
    ),
    Reason(
        lambda name, workload, us: not workload,
        "a function of TVM's own, of which only the bytes are known",
    ),
    Reason(
        lambda name, workload, us: name.startswith(
            ("softmax", "layer_norm", "rms_norm", "shifted_exp", "sum")
        ),
        "passes over a row that wait for each other's sums, and rows that end inside a vector",
    ),
    Reason(
        lambda name, workload, us: name.startswith("elementwise"),
        "what it writes is read into the cache first, and the peak is one of reading alone",
    ),
    Reason(
        lambda name, workload, us: name.startswith("transpose") or "axes" in workload,
        "elements change their neighbours: a shuffle for each few of them",
    ),
    Reason(
        lambda name, workload, us: name.startswith("depthwise") and " /2" in workload,
        "with a stride windows share few columns: each product needs a load of its own",
    ),
    Reason(
        lambda name, workload, us: name.startswith("depthwise"),
        "windows of few elements: loads and the first products of each window are not hidden",
    ),
    Reason(
        lambda name, workload, us: name.startswith("avg_pool2d") and "int8" in workload,
        "bytes are widened to 32 bits to be added, and the roofline counts reading them alone",
    ),
    Reason(
        lambda name, workload, us: name.startswith("avg_pool2d"),
        "what it reads once has left the near caches, through which the weights of the product "
        "before it went; alone it reads as fast as they are",
    ),
    Reason(
        lambda name, workload, us: name.startswith("max_pool2d"),
        "windows share elements: most are read several times, and counted once",
    ),
    Reason(
        lambda name, workload, us: name.startswith("batch_matmul"),
        "both sides are activations: one is packed in the kernel, which the roofline leaves out",
    ),
    Reason(
        lambda name, workload, us: name.startswith("matmul") and " 1x" in workload,
        "one row uses each weight once, and the other layers push weights out of the near cache",
    ),
    Reason(
        lambda name, workload, us: " 3x3" in workload and "x3 ->" in workload,
        "three input channels fill no vector: pixels are gathered",
    ),
)


def reason(name: str, workload: str, microseconds: float) -> str:
    """The reason for a kernel whose call takes so long, or that none is known."""
    fitting = (each.text for each in REASONS if each.fits(name, workload, microseconds))
    return next(fitting, "no reason is known: the first place to look for speed")
