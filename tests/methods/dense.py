"""The smallest model that can be quantized, ``y = x w``, and statistics of chosen numbers."""

from __future__ import annotations

import numpy as np
from tvm import ir, relax

from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.calibrate import Stats
from hago.calibrate.moments import RowMoments
from hago.calibrate.observers import TensorObserver
from hago.graph import Edge, QuantModel
from hago.hardware.spec import HardwareSpec
from hago.methods.assign import assign_numbers
from tests.graphs import machine

DATA, WEIGHT = Edge("x", "matmul", 0), Edge("matmul.weight", "matmul", 1)


def dense(weight: np.ndarray) -> ir.IRModule:
    """``main(x) = x w``, x float32 [1, K]."""
    x = relax.Var("x", relax.TensorType((1, len(weight)), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            product = builder.emit(
                relax.op.matmul(x, relax.const(weight.astype(np.float32))), name_hint="matmul"
            )
            result = builder.emit_output(relax.op.multiply(product, relax.const(1.0)))
        builder.emit_func_output(result)
    return builder.get()


def stats_of(*samples: object, **rest: object) -> Stats:
    """What calibration knows of x after these samples."""
    observer = TensorObserver()
    for sample in samples:
        observer.observe(np.asarray(sample, np.float32))
    return Stats({"x": observer.stats()}, len(samples), **rest)


def row_moments(rows: np.ndarray) -> RowMoments:
    """The moments of ``rows`` [R, K], of one group."""
    mean = rows.mean(axis=0, keepdims=True)
    covariance = (rows - mean).T @ (rows - mean) / len(rows)
    return RowMoments(mean.astype(np.float32), covariance[np.newaxis].astype(np.float32))


def about_zero(covariance: np.ndarray) -> RowMoments:
    """The moments with this ``covariance`` [G, K, K] and no mean."""
    return RowMoments(np.zeros(covariance.shape[:2], np.float32), covariance)


def quantized(
    stats: Stats, weight: np.ndarray | None = None, spec: HardwareSpec | None = None
) -> QuantModel:
    """The 8-bit model of ``dense`` with the extremes of ``stats`` as its range."""
    graph = annotate(dense(np.ones((4, 3)) if weight is None else weight), spec or machine())
    tensor = stats["x"]
    return assign_numbers(
        graph,
        choose_strategy(graph, "int8"),
        lambda *_: (tensor.low, tensor.high),
        constant_edges(graph),
    )


def covered(model: QuantModel) -> tuple[float, float]:
    """The smallest and the largest value of x that has a code."""
    quant = model.quants[DATA]
    low, high = quant.decode(np.array([0, 255], np.uint8))
    return float(low), float(high)
