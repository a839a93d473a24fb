"""A small text model: rows of a table, then a product."""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from hago.prepare import prepare

ROWS, WIDTH, LENGTH = 1200, 16, 6


def table(seed: int = 0) -> np.ndarray:
    """Rows of different spread, a few values of which stand out."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(ROWS, WIDTH)) * random.uniform(0.1, 2, (ROWS, 1))
    values[::3, 5] *= 4
    return values.astype(np.float32)


def looked_up(rows: np.ndarray) -> ir.IRModule:
    """``main(ids) = table[ids] W``, ids int64 [1, LENGTH]."""
    ids = relax.Var("ids", relax.TensorType((1, LENGTH), "int64"))
    weight = np.random.default_rng(1).normal(size=(rows.shape[1], 8)).astype(np.float32)
    builder = relax.BlockBuilder()
    with builder.function("main", [ids]):
        with builder.dataflow():
            taken = builder.emit(
                relax.op.take(relax.const(rows), ids, axis=0, mode="wrap"), name_hint="take"
            )
            product = builder.emit(relax.op.matmul(taken, relax.const(weight)), name_hint="matmul")
            result = builder.emit_output(relax.op.nn.relu(product))
        builder.emit_func_output(result)
    module = builder.get()
    names = {"hago.input_names": ["ids"], "hago.output_names": ["y"]}
    module["main"] = module["main"].with_attrs(names)
    return prepare(module)


def texts(count: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Rows that are looked up."""
    random = np.random.default_rng(seed)
    return [{"ids": random.integers(0, ROWS, (1, LENGTH))} for _ in range(count)]
