"""Each block's weights rounded up or down together, by what its output means for the results.

    min over a, s_x of  E[ F (z - z^)^2 ] / E0  +  strength * mean(1 - |2 h(a) - 1|^beta)

Li et al., BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction, arXiv
2102.05426 (ICLR 2021), equation 10 and algorithm 1: z is the output of a residual block, F its
diagonal Fisher information, the roundings are AdaRound's, the steps of activations are learned as
in LSQ (section 3.4), those of weights as in GENIE (Jeon et al., arXiv 2212.04780, section 3.2). E0
is the error of the model as it comes.

Where learning begins is not the paper's: in place of its 20,000 steps from the float weights, which
take hours on two cores, a block may begin where AdaRound leaves its layers. These are rounded in
the block's own stream: codes of a sweep over the whole network mend the errors of other codes
before them, and are worth less once those have moved.

The strength must win over the error before the steps are over: weights that end between two codes
are worth less than those that were rounded to nearest, however small the error was before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, ClassVar

from hago.calibrate import Stats
from hago.dataflow import read_dataflow
from hago.gradient import Hooks, read_program, torch
from hago.gradient.fake_quantize import gives
from hago.graph import QuantModel
from hago.methods.ada_round import AdaRound
from hago.methods.blocks import residual_blocks, single_layers
from hago.methods.descent import Learned, descend, seeded
from hago.methods.fisher import fisher_diagonal
from hago.methods.learned_steps import activation_steps, step_hooks
from hago.methods.method import register
from hago.methods.reconstruction import BlockData, hooks_within, reconstruct, reconstruct_within
from hago.methods.soft_rounding import annealed_beta, regulariser, soft_rounding

if TYPE_CHECKING:
    from torch import Tensor

_JUDGES = 32  # samples that are not learned from
_FISHER_SAMPLES = 32


@register
@dataclass(frozen=True)
class Brecq:
    """Chooses the codes of weights and the scales of activations, block by block.

    With ``layer_steps`` AdaRound first takes so many on each layer of a block. Otherwise codes that
    a method before it chose are where it starts, or the float weights. Each of ``steps`` steps sees
    ``batch`` of ``samples`` samples of the data. ``probes`` draws estimate the Fisher information.
    """

    name: ClassVar[str] = "brecq"
    paper: ClassVar[str] = "Li et al., arXiv 2102.05426"
    extra: ClassVar[str] = "torch"
    layer_steps: int = 0
    steps: int = 500
    batch: int = 32
    learning_rate: float = 0.1
    step_rate: float = 0.0005
    weight_step_rate: float = 0.0005
    strength: float = 100.0
    warm_up: float = 0.2
    betas: tuple[float, float] = (20.0, 2.0)
    probes: int = 2
    samples: int = 512
    seed: int = 0
    cache: str = ""

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        """``model`` with codes for every integer weight, learned scales of weights and activations.

        A block that learning does not improve on the samples that judge it stays as it was.
        """
        program = read_program(model.graph.module)
        blocks = residual_blocks(read_dataflow(model.graph.module))
        names = [block.output for block in blocks if block.layers]
        with stats.progress.stage("brecq: Fisher information"):
            feed = program.feed(islice(stats.data, min(self.samples, _FISHER_SAMPLES)))
            fisher = fisher_diagonal(program, feed, names, self.probes, seeded(self.seed))
        solve = partial(self._solve, fisher)
        return reconstruct(self, residual_blocks, solve, model, stats)

    def _solve(
        self, fisher: Mapping[str, Tensor], model: QuantModel, data: BlockData
    ) -> QuantModel:
        if self.layer_steps:
            layers = AdaRound(steps=self.layer_steps, seed=self.seed)
            model = reconstruct_within(data, single_layers, layers.solve, model)
        problem = _Problem(data, fisher[data.block.output], hooks_within(model, data.block))
        roundings = {
            edge: soft_rounding(weight, model.quants[edge], model.weights.get(edge), edge)
            for edge, weight in data.weight_edges(model).items()
        }
        steps = activation_steps(model, data)
        before = problem.judge(problem.hooks)

        def loss(picked: Tensor, progress: float) -> Tensor:
            soft = {(e.dst, e.arg): gives(each.soft()) for e, each in roundings.items()}
            hooks = {**problem.hooks, **step_hooks(steps), **soft}
            now = problem.error(picked, hooks) / (before + 1e-12)
            beta = annealed_beta(progress, self.warm_up, *self.betas)
            if beta is None:
                return now
            undecided = [regulariser(each.share(), beta).flatten() for each in roundings.values()]
            return now + self.strength * torch.cat(undecided).mean()

        learned = [
            Learned([each.alpha for each in roundings.values()], self.learning_rate),
            Learned([each.step.exponent for each in roundings.values()], self.weight_step_rate),
            *([Learned([s.exponent for s in steps], self.step_rate)] if steps else ()),
        ]
        descend(loss, learned, self.steps, problem.count, data.batch(self.batch),
                seeded(self.seed))  # fmt: skip
        codes = {edge: each.codes() for edge, each in roundings.items()}
        moved = [*steps, *(each.step for each in roundings.values())]
        quants = {e: q for step in moved for e, q in step.learned().items()}
        found = replace(model.with_quants(quants), weights={**model.weights, **codes})
        after = problem.judge(hooks_within(found, data.block))
        return found if after <= before else model


@dataclass(frozen=True, eq=False)
class _Problem:
    """The weighted error of a block's output; ``hooks`` make it that of the model as it comes.

    The first ``count`` samples are learned from, the others judge.
    """

    data: BlockData
    importance: Tensor
    hooks: Hooks

    @property
    def count(self) -> int:
        total = self.data.target.count
        return total - min(_JUDGES, total // 4)

    def error(self, picked: Tensor, hooks: Hooks) -> Tensor:
        """Its mean over the samples ``picked``."""
        exact = self.data.target.take(picked)
        return (self.importance * (self.data.output(picked, hooks) - exact).square()).mean()

    def judge(self, hooks: Hooks) -> float:
        """Its mean over samples that were not learned from (over all where these are few)."""
        total = self.data.target.count
        judges = range(self.count if self.count < total else 0, total)
        with torch.no_grad():
            return sum(float(self.error(torch.tensor([i]), hooks)) for i in judges) / len(judges)
