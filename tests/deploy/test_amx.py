"""AMX artifacts: what they compute, and what they ask of the system before."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from tvm import relax

import hago
from hago.dataflow import read_dataflow
from hago.deploy.build import build_artifact
from hago.deploy.manifest import Machine, Manifest
from hago.errors import BuildError
from hago.hardware.load import load_spec, spec_digest
from hago.hardware.permission import refused_features, request_permissions
from hago.lower.lower import lower
from hago.model import input_specs, output_specs
from hago.realize import realize
from tests.deploy.models import write_two_headed
from tests.emulator.artifact import run_artifact
from tests.emulator.emulation import amx_process, environment, has_amx
from tests.graphs import Builder, input_for, quantized

ASK = "from hago.hardware.permission import refused_features; print(refused_features(['amx_tile']))"


def network():
    """Convolutions of every stride and shape, a residual add, attention and a dense layer."""
    b = Builder(1, 14, 14, 32)
    first = b.emit("relu", relax.op.nn.relu(b.conv("conv2d", b.input, 64, padding=1)))
    joined = b.emit("add", relax.op.add(first, b.conv("conv2d_1", first, 64, kernel=1)))
    small = b.conv("conv2d_2", joined, 48, strides=2, padding=1)
    words = b.emit("words", relax.op.reshape(small, (1, 49, 48)))
    heads = [b.dense(name, words, 64) for name in ("query", "key", "value")]
    scores = relax.op.matmul(heads[0], b.emit("turn", relax.op.permute_dims(heads[1], (0, 2, 1))))
    return b.done(b.dense("out", b.attend(b.emit("scores", scores), heads[2]), 10))


def write(folder, hardware, real):
    """The artifact of the integer module ``real``, and its kernels."""
    spec = load_spec(hardware)
    machine = Machine(spec.name, spec_digest(spec), spec.features)
    manifest = Manifest("network", "int8", input_specs(real), output_specs(real), machine)
    return build_artifact(lower(real, spec), spec, manifest, folder)


@pytest.fixture(scope="module")
def real():
    module = network()
    main = module["main"].with_attr({"hago.input_names": ["x"], "hago.output_names": ["y"]})
    module["main"] = main
    return realize(quantized(module, load_spec("x86-amx"), input_for(module)))


def test_an_amx_artifact_computes_what_a_vnni_artifact_does(tmp_path, real):
    inputs = input_for(real, seed=5)
    with amx_process() as process:
        expected = hago.load(write(tmp_path / "vnni", "x86-vnni", real)).run(inputs)
        folder = write(tmp_path / "amx", "x86-amx", real)
        actual = process.submit(run_artifact, folder, inputs).result()
    np.testing.assert_array_equal(actual["y"], expected["y"])


def calls_of_kernels(lowered):
    return [node for node in read_dataflow(lowered).nodes if node.op == "call_tir"]


def test_products_of_the_network_are_tiles(real):
    lowered = lower(real, load_spec("x86-amx"))
    kernels = {var.name_hint: str(function) for var, function in lowered.functions.items()}
    called = Counter(node.call.args[0].name_hint for node in calls_of_kernels(lowered))
    assert sum(called[name] for name in kernels if "llvm.x86.tdpbusd" in kernels[name]) == 9
    assert not any("vpdpbusd" in kernel for kernel in kernels.values())


@pytest.mark.skipif(has_amx(), reason="this CPU has AMX: nothing is refused")
def test_a_cpu_without_tiles_is_refused_by_name(tmp_path):
    write_two_headed(tmp_path / "out", features=("amx_tile",))
    with pytest.raises(BuildError, match="the CPU lacks amx_tile"):
        hago.load(tmp_path / "out")


@pytest.mark.skipif(has_amx(), reason="this CPU has AMX: nothing is refused")
def test_a_refused_permission_is_an_error_and_not_a_signal():
    with pytest.raises(BuildError, match=r"out/: no permission to use AMX\n.*not supported"):
        request_permissions(("avx2", "amx_tile"), "out/")


def test_code_without_tiles_asks_for_nothing():
    assert refused_features(("avx2", "avx512f")) == ()


def test_a_cpu_with_tiles_grants_them():
    done = subprocess.run(
        [sys.executable, "-c", ASK], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "()"
