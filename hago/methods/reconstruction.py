"""Layer by layer, block by block: what goes in, what should come out, and the loop over them.

Two streams of the same samples run through the model in step. The exact stream is the float
model's. In the quantized stream activations are rounded and the layers before the one at hand
have the codes that were chosen for them (the asymmetric reconstruction of AdaRound, arXiv
2004.10568, equation 25), so that a layer also mends what the layers before it did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hago.calibrate import Stats
from hago.dataflow import read_dataflow
from hago.gradient import Hooks, Program, Step, read_program, torch
from hago.gradient.fake_quantize import model_hooks
from hago.graph import Edge, QuantModel
from hago.methods.blocks import Block, Partition
from hago.methods.finished import Finished, digest
from hago.methods.first_samples import first_samples
from hago.methods.streams import Kept, Value, follow, reads_of, run_block
from hago.sample import Sample

if TYPE_CHECKING:
    from torch import Tensor

_BATCH_ELEMENTS = 2**20  # of the largest value of a block in one step


@dataclass(frozen=True, eq=False)
class BlockData:
    """A block with the values that it reads in both streams, and the exact one of its result.

    ``done`` are the operations of the blocks before it. ``counted`` [samples, positions] is False
    where a sample holds padding; None where there is none.
    """

    block: Block
    steps: tuple[Step, ...]
    exact: Mapping[str, Value]
    quantized: Mapping[str, Value]
    target: Value
    done: frozenset[str] = frozenset()
    counted: Tensor | None = None

    def output(self, picked: Tensor, hooks: Hooks) -> Tensor:
        """What the block gives in the quantized stream for the samples ``picked``."""
        reads = reads_of(self.steps, self.quantized)
        output: Tensor = run_block(self.steps, reads, picked, hooks, self.block.output)
        return output

    def batch(self, most: int) -> int:
        """How many samples a step sees: ``most``, or fewer where one has many positions, which
        say as much and would fill the caches."""
        largest = max(prod(step.node.shape) for step in self.steps)
        return min(most, max(2, _BATCH_ELEMENTS // largest))

    def weight_edges(self, model: QuantModel) -> dict[Edge, Tensor]:
        """The float weights of the block's layers that are stored as integer codes."""
        constants = {step.node.name: step.node.constants for step in self.steps}
        return {
            edge: torch.from_numpy(constants[edge.dst][edge.arg].copy())
            for edge, scheme in model.strategy.items()
            if edge.is_constant and edge.dst in self.block.layers and scheme.dtype.is_integer
        }


Solve = Callable[[QuantModel, BlockData], QuantModel]


class Learner(Protocol):
    """A method that learns from the first ``samples`` of the data. ``cache`` is a folder that keeps
    finished blocks, so that an interrupted run goes on; empty for none."""

    name: ClassVar[str]

    @property
    def samples(self) -> int: ...

    @property
    def cache(self) -> str: ...


def reconstruct(
    learner: Learner, partition: Partition, solve: Solve, model: QuantModel, stats: Stats
) -> QuantModel:
    """``model`` after ``solve`` on each block with quantized weights, in order of execution.

    Raises DataError where there are no samples.
    """
    program = read_program(model.graph.module)
    blocks = partition(read_dataflow(model.graph.module))
    feed = program.feed(_samples(learner, stats))
    exact: dict[str, Value] = {name: Kept(value) for name, value in feed.items()}
    quantized = dict(exact)
    done: set[str] = set()
    mask = feed.get(program.inputs.get(stats.mask, ""))
    counted = None if mask is None else mask.reshape(len(mask), -1) != 0
    solve = _resumable(learner, solve, model, feed)
    tracked = stats.progress.track(range(len(blocks)), learner.name, len(blocks))
    for number, release in zip(tracked, _releases(program, blocks), strict=True):
        block = blocks[number]
        steps = tuple(program.steps[name] for name in block.nodes)
        exact[block.output] = follow(steps, exact, {}, block.output)
        target = exact[block.output]
        data = BlockData(block, steps, exact, quantized, target, frozenset(done), counted)
        if data.weight_edges(model):
            model = solve(model, data)
        hooks = hooks_within(model, block)
        quantized[block.output] = follow(steps, quantized, hooks, block.output)
        for name in release:
            del exact[name], quantized[name]
        done.update(block.nodes)
    return model


def reconstruct_within(
    data: BlockData, partition: Partition, solve: Solve, model: QuantModel
) -> QuantModel:
    """``model`` after ``solve`` on each part of the block of ``data``, in order of execution."""
    steps_of = {step.node.name: step for step in data.steps}
    exact, quantized, done = dict(data.exact), dict(data.quantized), set(data.done)
    for part in _parts(partition(read_dataflow(model.graph.module)), data.block):
        steps = tuple(steps_of[name] for name in part.nodes)
        exact[part.output] = follow(steps, exact, {}, part.output)
        target = exact[part.output]
        inner = BlockData(part, steps, exact, quantized, target, frozenset(done), data.counted)
        if inner.weight_edges(model):
            model = solve(model, inner)
        quantized[part.output] = follow(steps, quantized, hooks_within(model, part), part.output)
        done.update(part.nodes)
    return model


def _parts(blocks: Sequence[Block], whole: Block) -> Iterator[Block]:
    """What of ``blocks`` is inside of ``whole``."""
    inside = set(whole.nodes)
    for block in blocks:
        nodes = tuple(name for name in block.nodes if name in inside)
        if nodes:
            yield Block(nodes, tuple(name for name in block.layers if name in inside))


def _samples(learner: Learner, stats: Stats) -> list[Sample]:
    return first_samples(
        learner.name,
        stats,
        learner.samples,
        "it learns from what the layers read and give",
        "Give data with --data, or use a recipe of range methods.",
    )


def _resumable(learner: Learner, solve: Solve, model: QuantModel, feed: Mapping[str, Any]) -> Solve:
    """``solve``, which looks into the learner's cache first."""
    if not learner.cache:
        return solve
    finished = Finished(Path(learner.cache))
    constants = [node.constants for node in read_dataflow(model.graph.module).nodes]
    samples = {name: value.numpy() for name, value in feed.items()}
    key = digest(repr(learner), samples, constants, model.quants, model.weights, model.biases)

    def solve_once(model: QuantModel, data: BlockData) -> QuantModel:
        nonlocal key
        key = digest(key, data.block.nodes)
        found = finished.load(key, model)
        if found is None:
            found = solve(model, data)
            finished.save(key, model, found)
        return found

    return solve_once


def hooks_within(model: QuantModel, block: Block) -> Hooks:
    """The hooks of ``model`` on the edges that lead into operations of ``block``."""
    inside = set(block.nodes)
    kept = {edge: scheme for edge, scheme in model.strategy.items() if edge.dst in inside}
    return model_hooks(replace(model, strategy=kept))


def _releases(program: Program, blocks: Sequence[Block]) -> Iterator[list[str]]:
    """For each block, the values that no later one reads."""
    last: dict[str, int] = {}
    for number, block in enumerate(blocks):
        last[block.output] = number
        for name in block.nodes:
            for read in program.steps[name].node.inputs:
                last[read] = number
    outputs = {block.output for block in blocks} | set(program.inputs.values())
    for number in range(len(blocks)):
        yield [name for name, place in last.items() if place == number and name in outputs]
