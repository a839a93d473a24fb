"""The module that hago lowers for a task, without building it."""

from __future__ import annotations

from tvm import ir

from hago.calibrate import load_data
from hago.clock import Clock
from hago.frontend.onnx import import_onnx
from hago.hardware.spec import HardwareSpec
from hago.model import input_specs
from hago.plan import Quantizer
from hago.prepare import prepare
from hago.progress import SILENT
from tests.bench.contestant import Task


def realized_module(task: Task, spec: HardwareSpec, precision: str) -> ir.IRModule:
    """The module of ``precision`` ("float32", "int8", ..): kernels depend on dtypes and not on
    how well ranges were chosen, so these are the observed ones."""
    shapes = {name: value.shape for name, value in task.sample.items()}
    module = prepare(import_onnx(task.path, shapes))
    samples = load_data(list(task.calibration), input_specs(module))
    quantizer = Quantizer(module, spec, samples, (), Clock(SILENT))
    return next(quantizer.plans(precision)).module
