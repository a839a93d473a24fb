"""Values of an epilogue that are bound, where TVM's analyses look at them."""

from __future__ import annotations

import numpy as np
import pytest
import tvm

from hago.codegen.epilogue import Epilogue, Operand, Step
from hago.codegen.workload import Elementwise, Machine
from hago.hardware.host import host_spec
from hago.lower.select import build_kernel

MACHINE = Machine(64, frozenset({"vfmadd"}))


@pytest.mark.parametrize("length", [16, 21])
def test_bounds_that_lie_in_memory_clip_as_numpy_does(length: int) -> None:
    operands = (Operand((), "float32"), Operand((), "float32"))
    steps = (Step("maximum", (0, 1)), Step("minimum", (3, 2)), Step("maximum", (4, 1)))
    epilogue = Epilogue("float32", "float32", operands, steps)
    kernel = build_kernel(Elementwise((length,), "float32"), epilogue, MACHINE)
    built = tvm.tirx.build(
        tvm.IRModule({"main": kernel.func.with_attr("global_symbol", "main")}),
        target=tvm.target.Target(host_spec().target),
    )
    data = np.random.default_rng(0).standard_normal(length).astype("float32")
    low, high = np.float32(-0.5), np.float32(0.25)
    tensors = [tvm.runtime.tensor(np.asarray(a)) for a in (data, low, high, np.zeros_like(data))]
    built["main"](*tensors)
    assert np.array_equal(tensors[-1].numpy(), np.clip(data, low, high))
