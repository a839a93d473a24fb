"""A prepared module as steps that PyTorch runs, one sample or many at once.

Values keep the shapes and layouts of the module (NHWC, OHWI). A hook stands on an edge and may
replace the tensor that an operation reads: by its fake-quantized form, or by learned weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tvm import ir, relax

from hago.dataflow import Node, constant_value, input_params, is_constant, read_dataflow
from hago.errors import ModelError
from hago.gradient import torch
from hago.gradient.operators import OPERATORS
from hago.scheme import Array

if TYPE_CHECKING:
    from torch import Tensor

Values = dict[str, Any]  # tensors, and tuples of tensors (of a split)
Hook = Callable[["Tensor"], "Tensor"]
Hooks = Mapping[tuple[str, int], Hook]  # by operation and argument


@dataclass(frozen=True)
class Read:
    """Argument ``arg`` is the value called ``name``."""

    name: str
    arg: int


@dataclass(frozen=True, eq=False)
class Fixed:
    """Argument ``arg`` is a constant."""

    value: Tensor
    arg: int


@dataclass(frozen=True, eq=False)
class Step:
    """One operation with its arguments: :class:`Read`, :class:`Fixed`, tuples and numbers."""

    node: Node
    args: tuple[Any, ...]

    def run(self, values: Mapping[str, Any], hooks: Hooks) -> Any:
        """The value of the operation."""
        found = [self._fill(arg, values, hooks) for arg in self.args]
        if self.node.op == "alias":
            return found[0]
        if self.node.op == "tuple_get_item":
            return found[0][int(self.node.value.index)]
        return OPERATORS[self.node.op](self.node.value, *found)

    def _fill(self, arg: Any, values: Mapping[str, Any], hooks: Hooks) -> Any:
        if isinstance(arg, tuple):
            return tuple(self._fill(each, values, hooks) for each in arg)
        if not isinstance(arg, Read | Fixed):
            return arg
        value = values[arg.name] if isinstance(arg, Read) else arg.value
        hook = hooks.get((self.node.name, arg.arg))
        return value if hook is None else hook(value)


@dataclass(frozen=True, eq=False)
class Program:
    """The steps of a module in program order, its parameters and results by name.

    ``inputs`` maps the model's own input names to parameters.
    """

    inputs: Mapping[str, str]
    steps: Mapping[str, Step]
    outputs: tuple[str, ...]

    def feed(self, samples: Iterable[Mapping[str, Array]]) -> Values:
        """Parameters with the samples stacked: [samples, *shape of the input]."""
        stacks: dict[str, list[Array]] = {name: [] for name in self.inputs}
        for sample in samples:
            for name, stack in stacks.items():
                stack.append(np.asarray(sample[name]))
        return {
            self.inputs[name]: torch.from_numpy(np.stack(stack)) for name, stack in stacks.items()
        }


def read_program(module: ir.IRModule) -> Program:
    """The program of ``module["main"]``. Raises ModelError for an operation that it lacks."""
    dataflow = read_dataflow(module)
    missing = {node.op for node in dataflow.nodes} - {*OPERATORS, "tuple_get_item", "alias"}
    if missing:
        raise ModelError(
            f"'{min(missing)}' has no gradient here",
            fact="methods that learn run the model in PyTorch, operation by operation",
            source="hago/gradient/operators.py",
            way_out="Add a row to OPERATORS, or use a recipe without such methods.",
        )
    steps = {node.name: Step(node, _arguments(node.value)) for node in dataflow.nodes}
    return Program(input_params(module), steps, dataflow.outputs)


def run_steps(steps: Iterable[Step], values: Mapping[str, Any], hooks: Hooks) -> Values:
    """What ``steps`` (in order) compute from ``values``, by name."""
    known = dict(values)
    found: Values = {}
    for step in steps:
        known[step.node.name] = found[step.node.name] = step.run(known, hooks)
    return found


def over_samples(
    steps: Sequence[Step],
    values: Mapping[str, Any],
    hooks: Hooks,
    wanted: Sequence[str],
    chunk: int | None = None,
) -> Values:
    """:func:`run_steps` for each sample of stacked ``values``; only ``wanted`` are returned.

    ``chunk`` samples run at once (all, where None): it bounds the memory.
    """

    def one(sample: Values) -> list[Any]:
        found = run_steps(steps, sample, hooks)
        return [found[name] for name in wanted]

    return dict(zip(wanted, torch.func.vmap(one, chunk_size=chunk)(dict(values)), strict=True))


def _arguments(value: relax.Expr) -> tuple[Any, ...]:
    """The arguments of a binding's value; tensors get the numbers that edges give them."""
    number = -1

    def read(expr: relax.Expr) -> Any:
        nonlocal number
        if isinstance(expr, relax.Tuple):
            return tuple(read(field) for field in expr.fields)
        if isinstance(expr, relax.Var):
            number += 1
            return Read(str(expr.name), number)
        if is_constant(expr):
            number += 1
            return Fixed(as_tensor(constant_value(expr)), number)
        if isinstance(expr, relax.ShapeExpr):
            return tuple(int(extent) for extent in expr.values)
        inner = getattr(expr, "value", expr)
        return getattr(inner, "value", inner)

    if isinstance(value, relax.TupleGetItem):
        return (read(value.tuple_value),)
    return tuple(map(read, value.args)) if isinstance(value, relax.Call) else (read(value),)


def as_tensor(array: Array) -> Tensor:
    """A tensor of its own with the values of ``array``."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    return torch.from_numpy(np.array(array))
