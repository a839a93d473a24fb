"""A fixed noise is added to what products read before it is rounded, and taken from the result.

    Y = q(X + N) W + (b - N W),    N_j ~ U(m - n, m + n) for each channel j, drawn once

Y. Liu et al., NoisyQuant, arXiv 2211.16056, equations 5 and 6: where values crowd at a few places
between two codes (after GELU, say) their rounding errors have one sign and add up; the noise makes
them even. Whether that is so differs from layer to layer, so that mean m and width n are searched
for by the error of what each layer gives, m first, with the range as it was found without a noise
(as in the authors' program, https://github.com/kriskrisliu/NoisyQuant). Unlike there a layer is
left alone where it wins little: a few percent of some rows are luck, and what lay on codes is moved
away from them. Of MiniLM's 18 tensors with 6 bits three win 12 to 29%, and the network wins 0 to
0.4 dB; with noise in the others as well, which win 1 to 2%, it loses 1.8 dB.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from tvm.ir import IRModule

from hago.annotate.narrow import WeightFormat
from hago.calibrate import Stats
from hago.calibrate.channels import Channels
from hago.dataflow import read_dataflow
from hago.graph import QuantGraph, QuantModel
from hago.methods.method import register
from hago.methods.moved_channels import Doubles, Movable, common_numbers, move, read_by_products
from hago.methods.os_plus import candidates
from hago.methods.value_stream import ValueStream, counted_rows, fitting_samples
from hago.prepare import prepare
from hago.prepare.scale_channels import ChannelScale, scale_channels
from hago.sample import Sample
from hago.scheme import Array, Floats, TensorQuant

_LITTLE = 2.0**-20  # of a tensor's reach: nothing to its codes, but an addition to put a noise in


@register
@dataclass(frozen=True)
class NoisyQuant:
    """Moves channels of what matrix products with constant weights alone read as codes, after
    ranges are found.

    Each of ``tries`` means (from -1/2 to 1/2 steps of codes) and widths (up to a step) is judged by
    ``rows`` positions of the first ``samples`` samples; ``seed`` draws them and the noise. A tensor
    is changed if the error falls by the factor ``gain``.
    """

    name: ClassVar[str] = "noisy_quant"
    paper: ClassVar[str] = "Liu et al., arXiv 2211.16056, equations 5 and 6"
    keeps_function: ClassVar[bool] = True

    gain: float = 1.1
    tries: int = 16
    rows: int = 512
    samples: int = 16
    seed: int = 0

    def tensors(self, graph: QuantGraph) -> tuple[str, ...]:
        """The tensors that may get noise: a convolution would read none in its padding."""
        return tuple(
            source
            for source, readers in candidates(graph).items()
            if all(reader.op == "matmul" for reader in readers)
        )

    def reshape(self, graph: QuantGraph, channels: Channels, weights: WeightFormat) -> IRModule:
        """The prepared module in which each of them ends in a constant that is added to it."""
        little = {}
        for source in self.tensors(graph):
            reach = channels[source].reach.max()
            shift = np.full(channels[source].mean.shape, -_LITTLE * (reach or 1.0))
            little[source] = ChannelScale.of(np.ones_like(shift), shift)
        return prepare(scale_channels(graph.module, little)) if little else graph.module

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with the noise in the constants of its module. Raises DataError where there
        are no samples."""
        dataflow = read_dataflow(model.graph.module)
        found = {each.source.name: each for each in read_by_products(dataflow)}
        quants = common_numbers(model, found)
        if not quants:
            return model
        needed_for = "it compares what layers give with and without a noise"
        modules = [model.graph.module]
        given = fitting_samples(self.name, stats, self.samples, modules, needed_for)
        random = np.random.default_rng(self.seed)
        offsets = []
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            values = ValueStream(model.graph.module, given, pool)
            for name, quant in stats.progress.track(quants.items(), self.name, len(quants)):
                seen = _drawn(values.run_to(name), given, stats, self.rows, random)
                drawn: Doubles = random.uniform(-1, 1, seen.shape[1:])
                noise = self._noise(seen, quant, found[name], drawn)
                if noise.any():
                    offsets.append((found[name], -noise))
        return move(model, offsets)

    def _noise(self, seen: Floats, quant: TensorQuant, each: Movable, drawn: Doubles) -> Doubles:
        """The best of the tries [C] for the rows ``seen`` [rows, C]; ``drawn`` is of width 1."""
        weight = np.concatenate([product.constants[1] for product, _ in each.readers], axis=1)
        gram = weight @ weight.T if weight.shape[1] > len(weight) else None

        def error(noise: Doubles) -> float:
            moved = (seen + noise).astype(np.float32)
            wrong = quant.decode(quant.encode(moved)) - moved
            if gram is not None:
                return float(np.einsum("rc,rc->", wrong @ gram, wrong))
            return float(np.square(wrong @ weight).sum())

        def best(noises: Iterable[Doubles]) -> Doubles:
            return min(noises, key=error)

        step, parts = float(quant.scale), np.arange(self.tries + 1) / self.tries
        nothing = np.zeros_like(drawn)
        mean = best([nothing, *(nothing + step * (part - 0.5) for part in parts)])
        noise = best(mean + step * part * drawn for part in parts)
        return noise if self.gain * error(noise) <= error(nothing) else nothing


def _drawn(
    values: Sequence[Array], samples: Sequence[Sample], stats: Stats, most: int,
    random: np.random.Generator,
) -> Floats:  # fmt: skip
    """At most ``most`` rows [rows, C] of ``values``, none of padding."""
    pairs = zip(values, samples, strict=True)
    rows = np.concatenate([counted_rows(value, sample, stats) for value, sample in pairs])
    return rows[random.permutation(len(rows))[:most]]
