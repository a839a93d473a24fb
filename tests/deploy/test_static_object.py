"""A network as one object file, linked and called on this computer."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import hago
from hago.deploy.static_object import check_static_object, symbol
from hago.errors import BuildError
from hago.hardware.host import host_spec
from hago.hardware.load import load_spec
from hago.pipeline import Options, compile_model
from tests.onnx_models import node, save
from tests.search.stand_ins import network, samples

# Of libc and libm: what kernels and copies call.
_KNOWN = {"memcpy", "memset", "expf", "erff", "tanhf", "sqrtf", "__stack_chk_fail",
          "_GLOBAL_OFFSET_TABLE_"}  # fmt: skip

pytestmark = pytest.mark.skipif(
    not (shutil.which("cc") and shutil.which("objcopy")), reason="needs a C compiler and binutils"
)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A folder with a network as an artifact "out", small.o and small.h."""
    folder = tmp_path_factory.mktemp("static")
    options = Options("int8", "mse", export_object=folder / "small.o")
    model = network(folder / "small.onnx")
    compile_model(model, host_spec().name, samples(), folder / "out", options)
    return folder


def symbols(path, *options):
    done = subprocess.run(["nm", *options, str(path)], capture_output=True, text=True, check=True)
    return set(re.findall(r" \w (\S+)$", done.stdout, re.MULTILINE))


def test_it_gives_what_the_artifact_gives(compiled):
    shared = compiled / "small.so"
    command = ["cc", "-shared", "-o", str(shared), str(compiled / "small.o"), "-lm"]
    subprocess.run(command, check=True)
    run, model = ctypes.CDLL(str(shared)).small_run, hago.load(compiled / "out")
    for sample in samples(4):
        found = np.zeros((1, 5), np.float32)
        pointers = [each.ctypes.data_as(ctypes.c_void_p) for each in (sample["x"], found)]
        assert run(*pointers) == 0
        assert np.array_equal(found, model.run(sample)["y"])


def test_it_shows_one_function_and_needs_no_runtime(compiled):
    assert symbols(compiled / "small.o", "-g", "--defined-only") == {"small_run"}
    assert symbols(compiled / "small.o", "-u") <= _KNOWN


def test_its_header_says_what_it_takes(compiled):
    header = (compiled / "small.h").read_text()
    assert "int small_run(const float* x, float* y);" in header
    assert "x: float32 [1, 4, 8, 8]" in header


def test_its_name_is_one_of_c():
    assert symbol(Path("a/my-net.v2.o")) == "my_net_v2"
    assert symbol(Path("8bit.o")) == "_8bit"


def test_what_calls_the_runtime_has_none(tmp_path):
    largest = [node("TopK", "x k", "y i", axis=-1)]
    model = save(tmp_path / "m.onnx", largest, {"x": (1, 8)}, {"k": np.array([3])})
    options = Options("float32", export_object=tmp_path / "m.o")
    with pytest.raises(BuildError, match=r"no static object: tvm\.contrib\.sort\.topk"):
        compile_model(model, host_spec().name, [], tmp_path / "out", options)
    assert not (tmp_path / "m.o").exists()


def test_gpus_have_none(tmp_path):
    with pytest.raises(BuildError, match="no static object for cuda-sm80"):
        check_static_object(load_spec("cuda-sm80"), tmp_path / "x.o")


def test_it_is_called_an_object(tmp_path):
    with pytest.raises(BuildError, match=r"called NAME\.o"):
        check_static_object(host_spec(), tmp_path / "x.so")
