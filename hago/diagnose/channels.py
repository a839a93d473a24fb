"""What the channels of a tensor have to do with its error: those that stand out, and shifts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hago.calibrate.channels import ChannelStats
from hago.dataflow import Node
from hago.scheme import Floats, PerAxis, TensorQuant

Doubles = npt.NDArray[np.float64]
_FAR = 4.0  # medians of the reaches from which on a channel stands out


@dataclass(frozen=True)
class Spread:
    """How the largest magnitudes of channels differ.

    ``ratio`` is the largest over the median, ``outliers`` the number of channels beyond four
    medians, of ``channels``. ``gain_db`` is by how much the noise of rounding would fall if every
    channel had its own scale: no reshaping can do better on this tensor alone.
    """

    ratio: float
    outliers: int
    channels: int
    gain_db: float


def activation_spread(stats: ChannelStats, step: float, codes: int) -> Spread:
    """Of an activation that is rounded with one ``step``, in ``codes`` steps from end to end."""
    spans = np.maximum(stats.high, 0.0) - np.minimum(stats.low, 0.0)
    return _spread(stats.reach, step, spans / codes)


def weight_spread(weight: Floats, quant: TensorQuant) -> Spread | None:
    """Of a weight with one scale: its output channels; of one with a scale for each: its inputs.

    None where there are no inputs to tell apart (depthwise), or the scales are finer.
    """
    granularity = quant.scheme.granularity
    outputs = 1 if weight.ndim == 2 else 0  # matmul [K, N], convolution OHWI
    inputs = 0 if weight.ndim == 2 else 3
    if quant.scale.ndim == 0:
        axis = outputs
    elif isinstance(granularity, PerAxis) and weight.shape[inputs] > 1:
        axis = inputs
    else:
        return None
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale, _ = quant.spread(weight.shape)
    steps = np.abs(weight / scale).max(axis=others).astype(np.float64)
    codes = quant.scheme.dtype.code_range[1] if quant.scheme.dtype.is_integer else steps.max()
    return _spread(steps, 1.0, steps / max(codes, 1))


def shift_share(
    node: Node, error: Floats, inputs: ChannelStats
) -> float:
    """The share of constant shifts in the power of the error that a rounded weight makes.

    ``error`` is the rounded weight less the weight of the product ``node``, ``inputs`` the channels
    of what it reads. An output channel's error has the mean ``sum e_k E[x_k]`` and, where inputs
    are not correlated, the variance ``sum e_k^2 Var[x_k]``. A bias takes the mean away (Nagel et
    al., arXiv 1906.04721, section 4.2).
    """
    groups = 1 if node.op == "matmul" else int(node.call.attrs.groups)
    rows = error.T if node.op == "matmul" else error
    by_group = rows.reshape(groups, rows.shape[0] // groups, -1, rows.shape[-1]).astype(np.float64)
    mean = inputs.mean.reshape(groups, 1, 1, -1)
    variance = np.maximum(inputs.square - np.square(inputs.mean), 0.0).reshape(groups, 1, 1, -1)
    shift = np.square((by_group * mean).sum(axis=(2, 3))).sum()
    rest = (np.square(by_group) * variance).sum()
    return float(shift / max(shift + rest, 1e-300))


def _spread(reach: Doubles, step: float, own_steps: Doubles) -> Spread:
    seen = reach[reach > 0]
    median = float(np.median(seen)) if seen.size else 1.0
    noise = float(np.square(own_steps).mean())
    gain = 10 * np.log10(max(step**2, 1e-300) / max(noise, 1e-300)) if noise else 0.0
    return Spread(
        ratio=float(reach.max() / median) if seen.size else 1.0,
        outliers=int((reach > _FAR * median).sum()),
        channels=int(reach.size),
        gain_db=float(max(gain, 0.0)),
    )
