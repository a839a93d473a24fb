"""The digits network for Arm without any runtime: linked to a C program and run by QEMU."""

import subprocess

import numpy as np
import pytest

from hago.demo import digits_calibration, digits_model, digits_test
from hago.deploy.static_object import write_static_object
from hago.frontend.onnx import import_onnx
from hago.hardware.load import load_spec
from hago.lower.lower import lower
from hago.model import input_specs, output_specs
from hago.prepare import prepare
from hago.realize import interpret
from tests.arm.board import COMPILER, EMULATORS, tool
from tests.arm.network import Network
from tests.zoo.exactness import by_parameter

_PROGRAM = """
#include <stdio.h>
#include "digits.h"

int main(int argc, char** argv) {
  static float image[28 * 28], scores[10];
  FILE* input = fopen(argv[1], "rb");
  FILE* output = fopen(argv[2], "wb");
  while (fread(image, sizeof(image), 1, input) == 1) {
    if (digits_run(image, scores) != 0) return 1;
    fwrite(scores, sizeof(scores), 1, output);
  }
  return fclose(output);
}
"""


@pytest.mark.parametrize(("hardware", "cpu"), [("arm-neon", "cortex-a53"),
                                               ("arm-dotprod", "cortex-a76")])  # fmt: skip
def test_the_digits_network_needs_no_runtime(hardware, cpu, tmp_path):
    compiler, emulator = tool(COMPILER), tool(*EMULATORS)
    module, spec = prepare(import_onnx(digits_model())), load_spec(hardware)
    integers = Network(module, spec, digits_calibration()[:16]).plans()[0].module
    specs = input_specs(module), output_specs(module)
    write_static_object(lower(integers, spec), spec, specs, tmp_path / "digits.o")
    images = digits_test()[0][:4]
    images.tofile(tmp_path / "images")
    (tmp_path / "main.c").write_text(_PROGRAM)
    names = [str(tmp_path / name) for name in ("main.c", "digits.o", "run", "images", "scores")]
    subprocess.run([compiler, "-static", *names[:2], "-lm", "-o", names[2]], check=True)
    subprocess.run([emulator, "-cpu", cpu, *names[2:]], check=True, timeout=300)
    found = np.fromfile(names[4], np.float32).reshape(-1, 10)
    meant = [interpret(integers, by_parameter(integers, {"image": i[None]}))[0] for i in images]
    # Codes are equal; float32 takes over where the last one is dequantized and a bias added.
    apart = np.abs(found - np.concatenate(meant)).max()
    assert apart <= 4 * np.finfo(np.float32).eps * np.abs(found).max()
