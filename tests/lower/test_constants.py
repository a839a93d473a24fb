"""Constants of a library: where they lie, and what of them a program's ``main`` keeps."""

import ctypes

import ml_dtypes
import numpy as np
import pytest
import tvm
from tvm import relax, runtime

from hago.codegen.passes import CONSTANT
from hago.hardware.host import host_spec
from hago.lower.build import build
from hago.lower.constants import take_constants
from hago.lower.constants_object import ConstantsObject
from hago.lower.linker import link_shared
from hago.lower.lower import lower

SPEC, RANDOM = host_spec(), np.random.default_rng(0)
VALUES = {
    "float32": RANDOM.standard_normal((3, 5)).astype(np.float32),
    "int8": RANDOM.integers(-128, 128, 7).astype(np.int8),
    "bfloat16": RANDOM.standard_normal((2, 3)).astype(ml_dtypes.bfloat16),
    "bool": np.array([[True], [False]]),
    "scalar": np.array(-5, np.int64),
    "empty": np.zeros((0, 4), np.float32),
}


class Header(ctypes.Structure):
    """DLTensor of dlpack.h."""

    _fields_ = (
        ("data", ctypes.c_void_p), ("device", ctypes.c_int32 * 2), ("rank", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    )  # fmt: skip


def headers_in(folder, arrays):
    """What a library of ``arrays`` alone, made in ``folder``, says of each."""
    tensors = tuple(map(runtime.tensor, arrays))
    path = ConstantsObject(tensors, SPEC.triple).written(folder)
    link_shared(str(folder / "constants.so"), [str(path)])
    address = getattr(ctypes.CDLL(str(folder / "constants.so")), CONSTANT)
    address.argtypes, address.restype = [ctypes.c_int64], ctypes.POINTER(Header)
    return [address(number).contents for number in range(len(arrays))]


@pytest.fixture(scope="module")
def headers(tmp_path_factory):
    found = headers_in(tmp_path_factory.mktemp("library"), VALUES.values())
    return dict(zip(VALUES, found, strict=True))


@pytest.mark.parametrize("name", VALUES)
def test_a_constant_is_aligned_and_holds_its_bytes(headers, name):
    header, value = headers[name], VALUES[name]
    assert header.data % 64 == 0
    assert ctypes.string_at(header.data, value.nbytes) == value.tobytes()


@pytest.mark.parametrize("name", VALUES)
def test_its_header_is_that_of_a_tensor_of_the_runtime(headers, name):
    header, value = headers[name], VALUES[name]
    dtype = runtime.tensor(value).dtype
    assert (list(header.device), header.offset) == ([1, 0], 0)
    assert header.shape[: header.rank] == list(value.shape)
    assert (header.code, header.bits, header.lanes) == (dtype.type_code, dtype.bits, dtype.lanes)
    if value.size:
        elements = [stride // value.itemsize for stride in value.strides]
        assert header.strides[: header.rank] == elements


def test_the_folder_may_have_any_name(tmp_path):
    folder = tmp_path / 'a "b" \\c é,$'
    folder.mkdir()
    (header,) = headers_in(folder, [VALUES["int8"]])
    assert ctypes.string_at(header.data, 7) == VALUES["int8"].tobytes()


def network(*weights):
    """``x W W' ..``"""
    builder = relax.BlockBuilder()
    data = relax.Var("x", relax.TensorType((4, len(weights[0])), "float32"))
    with builder.function("main", [data]):
        with builder.dataflow():
            value = data
            for weight in weights:
                value = builder.emit(relax.op.matmul(value, relax.const(weight)))
            result = builder.emit_output(value)
        builder.emit_func_output(result)
    return builder.get()


def loaded(module, mode):
    return relax.VirtualMachine(build(lower(module, SPEC), SPEC, mode), tvm.cpu())


def run(machine):
    data = np.random.default_rng(1).standard_normal((4, 32)).astype(np.float32)
    return machine["main"](runtime.tensor(data)).numpy()


WEIGHT = RANDOM.standard_normal((32, 32)).astype(np.float32)


def test_machine_code_and_interpreted_main_read_the_same_constants():
    module = network(WEIGHT, 2 * WEIGHT)
    machines = [loaded(module, mode) for mode in ("compiled", "bytecode")]
    np.testing.assert_array_equal(*map(run, machines))


def test_programs_of_one_process_read_their_own_constants():
    machines = [loaded(network(scale * WEIGHT), "compiled") for scale in (1, 2)]
    once, twice = map(run, machines)
    np.testing.assert_array_equal(2 * once, twice)


def lowered_calls(module):
    return relax.transform.CallTIRRewrite()(relax.transform.ToNonDataflow()(lower(module, SPEC)))


def test_equal_constants_are_held_once():
    assert len(take_constants(lowered_calls(network(WEIGHT, WEIGHT, WEIGHT + 1)))[1]) == 2


def test_what_no_kernel_reads_stays_in_main():
    builder = relax.BlockBuilder()
    with builder.function("main", []):
        flat = builder.emit(relax.op.reshape(relax.const(WEIGHT), (WEIGHT.size,)))
        builder.emit_func_output(flat)
    assert take_constants(builder.get())[1] == ()
