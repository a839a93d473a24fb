"""Whole networks on an Arm that QEMU plays give what the reference interpreter gives."""

import numpy as np
import pytest
import tvm

from hago.demo import digits_calibration, digits_model, digits_test
from hago.deploy.manifest import read_manifest
from hago.frontend.onnx import import_onnx
from hago.hardware.load import load_spec, spec_folder
from hago.pipeline import Options, compile_model
from hago.prepare import prepare
from hago.realize import interpret, realize
from tests.arm.board import COMPILER, tool
from tests.arm.network import Network, largest_difference
from tests.arm.runtime import runner
from tests.graphs import attention, diffusion_block, input_for, quantized, residual_network

MACHINES = ("arm-dotprod", "arm-i8mm", "arm-neon")
NETWORKS = {"residual": residual_network, "attention": attention, "diffusion": diffusion_block}


def network_of(module, hardware, samples) -> Network:
    tool(COMPILER)
    return Network(module, load_spec(hardware), samples)


def assert_equal(apart, largest):
    # Codes are equal; float32 takes over where the last one is dequantized and a bias added.
    assert apart <= 4 * np.finfo(np.float32).eps * largest


def named(module):
    """``module`` with the names that an importer gives to its input and output."""
    names = {"hago.input_names": ["x"], "hago.output_names": ["y"]}
    return tvm.IRModule({"main": module["main"].with_attrs(names)})


@pytest.mark.parametrize("hardware", MACHINES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_small_network_gives_the_reference_codes(name, hardware, tmp_path):
    arm, module = runner(), named(NETWORKS[name]())
    samples = [input_for(module, seed) for seed in range(2)]
    network = network_of(module, hardware, samples)
    integers = realize(quantized(module, network.spec, samples[0]))
    artifact = network.build(integers, tmp_path / "out")
    assert_equal(*largest_difference(arm, artifact, integers, samples))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_machine_of_ones_own_computes_with_unsigned_codes(name, tmp_path):
    text = (spec_folder() / "arm_i8mm.py").read_text()
    for old, its in (
        ("s8.asymmetric", "u8.asymmetric"), ("gives=(s8", "gives=(u8"), ('"smmla"', '"usmmla"'),
        ('"sdot"', '"usdot"'), ("s8, s32\n", "s8, s32, u8\n"),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, its)
    (tmp_path / "own.py").write_text(text)
    arm, module = runner(), named(NETWORKS[name]())
    samples = [input_for(module, seed) for seed in range(2)]
    network = network_of(module, tmp_path / "own.py", samples)
    integers = realize(quantized(module, network.spec, samples[0]))
    artifact = network.build(integers, tmp_path / "out")
    assert_equal(*largest_difference(arm, artifact, integers, samples))


def test_floats_are_those_of_numpy(tmp_path):
    arm, module = runner(), named(residual_network())
    sample = input_for(module)
    network = network_of(module, "arm-dotprod", [sample])
    (actual,) = arm.run(network.build(module, tmp_path / "out"), sample).values()
    (exact,) = interpret(module, sample)
    assert np.abs(actual - exact).max() <= 1e-5 * np.abs(exact).max()


def test_the_digits_network_gives_the_reference_codes(tmp_path):
    arm, images = runner(), digits_test()[0][:4]
    module = prepare(import_onnx(digits_model()))
    network = network_of(module, "arm-dotprod", digits_calibration()[:16])
    samples = [{"image": image[None]} for image in images]
    integers = network.plans()[0].module
    artifact = network.build(integers, tmp_path / "out")
    assert_equal(*largest_difference(arm, artifact, integers, samples))


def test_an_older_cpu_is_told_what_it_lacks(tmp_path):
    arm, module = runner(), named(residual_network())
    folder = network_of(module, "arm-i8mm", []).build(module, tmp_path / "out")
    assert "lacks asimddp i8mm bf16" in arm.refusal(folder, "cortex-a53")
    assert "lacks i8mm bf16" in arm.refusal(folder, "cortex-a76")
    other = network_of(module, "arm-neon", []).build(module, tmp_path / "neon")
    assert arm.run(other, input_for(module), "cortex-a53").keys() == {"y"}


def test_hago_compile_makes_an_artifact_for_arm(tmp_path):
    tool(COMPILER)
    module = named(residual_network())
    samples = [input_for(module, seed) for seed in range(4)]
    report = compile_model(
        module, "arm-dotprod", samples, tmp_path / "out", Options(recipe=("mse",))
    )
    assert report.precision == "int8"
    assert report.compiled.latency_ms is None  # nobody measured it: this is no Arm
    manifest = read_manifest(tmp_path / "out")
    assert manifest.machine.architecture == "aarch64"
    library = (tmp_path / "out" / "model.so").read_bytes()
    assert int.from_bytes(library[18:20], "little") == 183  # e_machine of ELF: EM_AARCH64
