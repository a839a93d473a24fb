"""Each layer's weights rounded up or down so that its output stays what it was.

    min over a of  || f(W x) - f(W(a) x^) ||^2 / E0  +  strength * mean(1 - |2 h(a) - 1|^beta)

Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, arXiv 2004.10568,
equation 25 with the regulariser of equation 24; x^ is what the quantized layers before it give, f
the bias and activation. The error is divided by E0, that of rounding to nearest, and the
regulariser is a mean, so that one strength suits layers of every size. It must win over the error
before the steps are over: a weight that ends between two codes is rounded without regard to others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from hago.calibrate import Stats
from hago.gradient import torch
from hago.gradient.fake_quantize import fake_quantize
from hago.graph import QuantModel
from hago.methods.blocks import single_layers
from hago.methods.descent import Learned, descend, seeded
from hago.methods.layer_rows import LayerRows, product, quantized_rows
from hago.methods.method import register
from hago.methods.reconstruction import BlockData, reconstruct
from hago.methods.soft_rounding import annealed_beta, regulariser, soft_rounding
from hago.scheme import Array, TensorQuant

if TYPE_CHECKING:
    from torch import Tensor


@register
@dataclass(frozen=True)
class AdaRound:
    """Chooses the codes of weights, layer by layer.

    ``samples`` of the data give ``rows`` positions a layer, ``batch`` of which each of ``steps``
    steps sees. ``betas`` and ``warm_up`` anneal the regulariser as in the paper's section 5.
    """

    name: ClassVar[str] = "ada_round"
    paper: ClassVar[str] = "Nagel et al., arXiv 2004.10568"
    extra: ClassVar[str] = "torch"
    steps: int = 500
    batch: int = 256
    learning_rate: float = 0.1
    strength: float = 100.0
    warm_up: float = 0.2
    betas: tuple[float, float] = (20.0, 2.0)
    samples: int = 512
    rows: int = 16384
    seed: int = 0
    cache: str = ""

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with codes for every integer weight."""
        return reconstruct(self, single_layers, self.solve, model, stats)

    def solve(self, model: QuantModel, data: BlockData) -> QuantModel:
        """``model`` with codes for the weights of the one layer of ``data``."""
        ((edge, weight),) = data.weight_edges(model).items()
        rows = quantized_rows(model, data, self.rows, self.seed)
        codes = self.round_layer(rows, weight, model.quants[edge])
        return replace(model, weights={**model.weights, edge: codes})

    def round_layer(self, rows: LayerRows, weight: Tensor, quant: TensorQuant) -> Array:
        """Codes of ``weight`` (float32, in its own shape) that keep the layer's output."""
        rounding = soft_rounding(weight, quant)
        with torch.no_grad():
            target = rows.finish_exact(product(rows.exact, rows.to_rows(weight)))
            nearest = fake_quantize(weight, quant)
            unit = _error(rows, nearest, target, torch.arange(rows.count)) + 1e-12

        def loss(picked: Tensor, progress: float) -> Tensor:
            error = _error(rows, rounding.soft(), target, picked) / unit
            beta = annealed_beta(progress, self.warm_up, *self.betas)
            if beta is None:
                return error
            return error + self.strength * regulariser(rounding.share(), beta).mean()

        learned = [Learned([rounding.alpha], self.learning_rate)]
        descend(loss, learned, self.steps, rows.count, rows.batch(self.batch), seeded(self.seed))
        return rounding.codes()


def _error(rows: LayerRows, weight: Tensor, target: Tensor, picked: Tensor) -> Tensor:
    """Mean squared error of the layer's output on the rows ``picked``."""
    actual = rows.finish(product(rows.quantized[:, picked], rows.to_rows(weight)))
    return (actual - target[:, picked]).square().mean()
