"""Each layer's weights and step sizes moved so that its output stays what it was.

    min over V, s_w, s_x of  || f(W x) - f(Q(W + V; s_w) Q(x^; s_x)) ||^2 / E0

Hubara et al., Improving Post Training Neural Quantization: Layer-wise Calibration and Integer
Programming, arXiv 2006.10518, equation 2 (the bias is left to bias correction). Unlike AdaRound's
roundings V is not bounded: a weight may move by more than one code. Gradients pass straight through
the roundings; x^ is what the quantized layers before give, f the bias and activation, E0 the error
before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from hago.calibrate import Stats
from hago.gradient import torch
from hago.gradient.fake_quantize import bias_hooks
from hago.graph import Edge, QuantModel
from hago.methods.blocks import single_layers
from hago.methods.descent import Learned, descend, seeded
from hago.methods.layer_rows import layer_rows, product
from hago.methods.learned_steps import activation_steps, learned_step, step_hooks
from hago.methods.method import register
from hago.methods.reconstruction import BlockData, hooks_within, reconstruct

if TYPE_CHECKING:
    from torch import Tensor


@register
@dataclass(frozen=True)
class AdaQuant:
    """Chooses the codes and scales of weights, and the scales of what the layers read.

    ``samples`` of the data give ``rows`` positions a layer, ``batch`` of which each of ``steps``
    steps sees. ``weight_rate`` is in units of a layer's mean weight step, ``step_rate`` relative.
    """

    name: ClassVar[str] = "ada_quant"
    paper: ClassVar[str] = "Hubara et al., arXiv 2006.10518"
    extra: ClassVar[str] = "torch"
    steps: int = 500
    batch: int = 256
    weight_rate: float = 0.03
    step_rate: float = 0.001
    samples: int = 512
    rows: int = 16384
    seed: int = 0
    cache: str = ""

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with codes and scales for every integer weight."""
        return reconstruct(self, single_layers, self._solve, model, stats)

    def _solve(self, model: QuantModel, data: BlockData) -> QuantModel:
        ((edge, weight),) = data.weight_edges(model).items()
        inputs = activation_steps(model, data)
        hooks = {**hooks_within(model, data.block), **step_hooks(inputs)}
        round_input = hooks.get((edge.dst, 0), lambda real: real)
        generator = seeded(self.seed)
        rows = layer_rows(data, lambda real: real, bias_hooks(model), self.rows, generator)
        step = learned_step(model.quants[edge], edge)
        moved = weight.clone().requires_grad_()
        with torch.no_grad():
            target = rows.finish_exact(product(rows.exact, rows.to_rows(weight)))

        def error(picked: Tensor, _: float = 0.0) -> Tensor:
            read = round_input(rows.quantized[:, picked])
            actual = rows.finish(product(read, rows.to_rows(step.round(moved))))
            return (actual - target[:, picked]).square().mean()

        with torch.no_grad():
            unit = error(torch.arange(rows.count)) + 1e-12
        rate = self.weight_rate * float(model.quants[edge].scale.mean())
        learned = [
            Learned([moved], rate),
            Learned([each.exponent for each in (step, *inputs)], self.step_rate),
        ]
        batch = rows.batch(self.batch)
        descend(lambda *at: error(*at) / unit, learned, self.steps, rows.count, batch,
                seeded(self.seed))  # fmt: skip
        quants = {e: q for each in (step, *inputs) for e, q in each.learned().items()}
        return _with(model.with_quants(quants), edge, moved)


def _with(model: QuantModel, edge: Edge, weight: Tensor) -> QuantModel:
    """``model`` with the codes of ``weight`` on ``edge``."""
    codes = model.quants[edge].encode(weight.detach().numpy())
    return replace(model, weights={**model.weights, edge: codes})
