"""Where size counts, kernels take weights as the model has them."""

import numpy as np
from tvm import relax

from hago.codegen.blocking import Blocking
from hago.codegen.epilogue import Epilogue
from hago.codegen.kernels.conv_winograd import WinogradTile
from hago.codegen.workload import Conv2d, Matmul
from hago.hardware.load import load_spec
from hago.lower.lower import Compact, by_template, lower_with_weights
from hago.lower.select import machine_of, schedules
from hago.lower.stored import constant_bytes

SPEC = load_spec("x86-vnni")
MACHINE = machine_of(SPEC)
FLOATS = Epilogue("float32", "float32")
CONV = Conv2d(1, 28, 28, 64, 64, 3, 3, padding=(1, 1, 1, 1))


def last(workload, epilogue):
    return schedules(workload, MACHINE)[-1]


def first_transformed(workload, epilogue):
    return next(s for s in schedules(workload, MACHINE) if isinstance(s, WinogradTile))


def test_weights_are_not_transformed_whatever_was_measured():
    assert isinstance(schedules(CONV, MACHINE)[0], WinogradTile)
    for choose in (by_template, first_transformed):
        assert isinstance(Compact(choose, MACHINE)(CONV, FLOATS), Blocking)


def test_other_schedules_stay_as_they_are():
    for workload in (CONV, Matmul(64, 64, 64)):
        assert Compact(last, MACHINE)(workload, FLOATS) == last(workload, FLOATS)
    assert Compact(by_template, MACHINE)(Matmul(64, 64, 64), FLOATS) in (
        None, schedules(Matmul(64, 64, 64), MACHINE)[0]
    )  # fmt: skip


def test_the_constants_of_a_module_are_as_large_as_its_weights():
    data = relax.Var("data", relax.TensorType((1, 28, 28, 64), "float32"))
    weight = relax.const(np.ones((64, 3, 3, 64), np.float32))
    builder = relax.BlockBuilder()
    with builder.function("main", [data]):
        with builder.dataflow():
            conv = relax.op.nn.conv2d(
                data, weight, padding=1, data_layout="NHWC", kernel_layout="OHWI"
            )
            result = builder.emit_output(builder.emit(conv, name_hint="conv"))
        builder.emit_func_output(result)
    sizes = {
        choose: constant_bytes(lower_with_weights(builder.get(), SPEC, (), choose).module)
        for choose in (by_template, Compact(by_template, MACHINE))
    }
    assert list(sizes.values()) == [4 * 64 * 64 * 16, 4 * 64 * 64 * 9]
