"""Small Relax modules for tests of passes: before, expected, and what they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tvm import ir, relax

from hago.prepare.rewrite import rewrite
from tests.onnx_models import assert_close, normal, run

Body = Callable[..., relax.Expr]
Pass = Callable[[ir.IRModule], ir.IRModule]


def const(value: object, dtype: str = "float32") -> relax.Expr:
    """A constant of this dtype."""
    array = np.asarray(value, dtype)
    return relax.const(array, dtype)


def module(body: Body, *shapes: Sequence[int]) -> ir.IRModule:
    """``main`` over float32 inputs; `body` gets an emitter, then the inputs."""
    params = [relax.Var(f"x{i}", relax.TensorType(s, "float32")) for i, s in enumerate(shapes)]
    builder = relax.BlockBuilder()
    with builder.function("main", params):
        with builder.dataflow():
            result = builder.emit_output(body(builder.emit, *params))
        builder.emit_func_output(result)
    return builder.get()


def assert_becomes(step: Pass, before: ir.IRModule, expected: ir.IRModule) -> None:
    """`step` makes `expected` of `before`, and nothing more of its own result."""
    after = step(before)
    relax.analysis.well_formed(after)
    ir.assert_structural_equal(after, tidy(expected), map_free_vars=True)
    ir.assert_structural_equal(step(after), after, map_free_vars=True)


def assert_stays(step: Pass, before: ir.IRModule) -> None:
    """`step` finds nothing to do."""
    assert_becomes(step, before, before)


def assert_same_meaning(step: Pass, before: ir.IRModule, terms: int) -> None:
    """`step` keeps the results, up to the order of sums of `terms` products."""
    inputs = [
        normal(*(int(d) for d in p.ty.shape), seed=i) for i, p in enumerate(before["main"].params)
    ]
    for got, expected in zip(run(step(before), *inputs), run(before, *inputs), strict=True):
        assert_close(got, expected, terms)


def tidy(source: ir.IRModule) -> ir.IRModule:
    """The same module as passes write it: no aliases, no dead bindings."""
    return rewrite(source, lambda call, scope: None)
