"""Channels of queries, keys and values are centred and get equal ranges; attention stays the same.

    softmax(q k^T)     = softmax((q s) ((k - z) / s)^T)             s = sqrt(max |k - z| / max |q|)
    softmax(..) v W    = softmax(..) ((v - z) / s) (s W) + z W

What is taken from all keys changes all scores of a query by the same number, which a softmax does
not see (J. Zhang et al., SageAttention, arXiv 2410.02367, section 4.2: smoothing of K; there the
mean of the tokens at hand, here the centre of what calibration saw, which goes into the bias). A
factor of a channel of the query is taken back in the key (Y. Lin et al., QServe, arXiv 2405.04532,
section 4.2: SmoothAttention; here both sides have codes, so that both get the same range). The
shares of a softmax sum to one, so that what is taken from all values comes back behind the product
(Wei et al., OS+, arXiv 2304.09145, equation 3), and their scales are those of OS+. All of it goes
into weights and biases: nothing is computed at run time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from tvm.ir import IRModule

from hago.annotate.narrow import WeightFormat
from hago.calibrate.channels import Channels, ChannelStats
from hago.dataflow import read_dataflow
from hago.graph import QuantGraph
from hago.methods.attention import Attention, find_attention
from hago.methods.method import BeforeNumbers, register
from hago.methods.os_plus import WeightNoise, best_scale
from hago.prepare import prepare
from hago.prepare.scale_channels import ChannelScale, scale_inside

Doubles = npt.NDArray[np.float64]


@register
@dataclass(frozen=True)
class SmoothAttention(BeforeNumbers):
    """Reshapes every attention whose queries, keys and values come from layers of their own."""

    name: ClassVar[str] = "smooth_attention"
    paper: ClassVar[str] = "Lin et al., arXiv 2405.04532, section 4.2"

    def tensors(self, graph: QuantGraph) -> tuple[str, ...]:
        """The queries, keys and values."""
        found = find_attention(read_dataflow(graph.module))
        return tuple(name for each in found for name in (each.query, each.key, each.value))

    def reshape(self, graph: QuantGraph, channels: Channels, weights: WeightFormat) -> IRModule:
        """The prepared module with other weights; the same where there is no attention."""
        inside: dict[str, ChannelScale] = {}
        behind: dict[str, ChannelScale] = {}
        for each in find_attention(read_dataflow(graph.module)):
            inside |= _scores(each, channels)
            own = behind[each.reader.name] = _values(each, channels[each.value], weights)
            order = np.argsort(each.carried)
            inside[each.value] = ChannelScale(own.scale[order], own.shift[order])
        return prepare(scale_inside(graph.module, inside, behind)) if inside else graph.module


def _scores(attention: Attention, channels: Channels) -> dict[str, ChannelScale]:
    """What the query and the key are divided by, and the centre of the key."""
    query, key = channels[attention.query], channels[attention.key]
    shift = (key.low + key.high) / 2
    theirs, own = query.reach[attention.meets], key.high - shift
    known = (theirs > 0) & (own > 0)
    scale = np.sqrt(np.divide(own, theirs, where=known, out=np.ones_like(own)))
    inverse = np.ones_like(scale)
    inverse[attention.meets] = 1 / scale
    return {
        attention.query: ChannelScale.of(inverse),
        attention.key: ChannelScale.of(scale, shift),
    }


def _values(attention: Attention, stats: ChannelStats, form: WeightFormat) -> ChannelScale:
    """Of the input channels of the reader: the scale of OS+ for values around their centre."""
    carried = stats.of(attention.carried)
    shift = (carried.low + carried.high) / 2
    best = best_scale(carried.less(shift), [WeightNoise.of(attention.reader, form)], gain=1.0)
    return ChannelScale.of(np.ones_like(shift) if best is None else best.scale, shift)
