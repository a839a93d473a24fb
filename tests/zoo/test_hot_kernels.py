"""No hot loop of a zoo model is left to TVM's unscheduled default."""

from __future__ import annotations

import time

import pytest
import tvm

from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.frontend.onnx import import_onnx
from hago.hardware.host import host_spec
from hago.lower.lower import lower
from hago.lower.profile import profile_kernels
from hago.methods.assign import assign_numbers
from hago.prepare import prepare
from hago.realize import realize
from tests.bench.inputs import draw_sample
from tests.lower.loops import is_scheduled
from tests.zoo.cache import zoo_folder
from tests.zoo.models import MODELS

HOT = 0.02  # of the time of a run
# The largest ones have the kernels of others in other sizes.
NAMES = [name for name in MODELS if name not in ("bert_base", "resnet50")]


def prepared(name: str) -> tvm.IRModule:
    path = zoo_folder() / f"{name}.onnx"
    if not path.exists():
        pytest.skip(f"no {path}: 'python -m tests.zoo {name}' makes it")
    return prepare(import_onnx(path, dict(MODELS[name].inputs)))


def lowered(module: tvm.IRModule, precision: str) -> tvm.IRModule:
    """Kernels depend on dtypes and not on ranges, so any range will do."""
    if precision == "float32":
        return lower(module, host_spec())
    graph = annotate(module, host_spec())
    strategy = choose_strategy(graph, precision)
    model = assign_numbers(graph, strategy, lambda *_: (-4.0, 4.0), constant_edges(graph))
    return lower(realize(model), host_spec())


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_that_takes_time_is_scheduled(name: str, precision: str) -> None:
    sample = draw_sample(MODELS[name].inputs, seed=0)
    module = lowered(prepared(name), precision)
    functions = {str(var.name_hint): function for var, function in module.functions_items()}
    # The fastest of many: other work on the machine takes from the caches, too.
    times = profile_kernels(module, host_spec(), list(sample.values()), 10, time.thread_time)
    total = sum(kernel.seconds for kernel in times)
    hot = [kernel for kernel in times if kernel.seconds > HOT * total]
    kernels = [kernel.name for kernel in hot if kernel.name in functions]
    assert kernels
    assert [name for name in kernels if not is_scheduled(functions[name])] == []
