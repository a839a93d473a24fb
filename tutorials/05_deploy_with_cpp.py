# %% [markdown]
# # An artifact in C++
#
# The machine that a model is deployed to needs neither Python nor a compiler: the artifact's
# folder, `hago-run` (or your own program with the library `hago`), and two shared libraries of
# TVM's runtime.

# %%
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import hago
from hago.demo import digits_calibration, digits_model, digits_test
from hago.hardware.host import host_spec

scratch = Path(tempfile.mkdtemp())
artifact = scratch / "artifact"
hago.compile_model(digits_model(), host_spec().name, digits_calibration(), artifact)

# %% [markdown]
# ## Build the runner
#
# CMake takes headers and libraries from the installed packages.

# %%
if not (shutil.which("cmake") and shutil.which("c++")):
    sys.exit("this tutorial needs cmake and a C++ compiler")
sources = Path(__file__).resolve().parents[1]
build = scratch / "build"
configure = ["cmake", "-S", sources, "-B", build, f"-DPython3_EXECUTABLE={sys.executable}"]
subprocess.run(configure, check=True, capture_output=True)
subprocess.run(["cmake", "--build", build], check=True, capture_output=True)

# %% [markdown]
# ## Your own program
#
# This is all of it: load, fill the input, run.

# %%
program = scratch / "program"
program.mkdir()
(program / "main.cc").write_text(
    """
#include <algorithm>
#include <cstdio>

#include "hago/model.h"

int main(int, char** arguments) {
  hago::Model model = hago::Model::Load(arguments[1]);
  hago::Tensor image(model.inputs()[0]);
  std::fread(image.data<float>(), sizeof(float), image.spec().elements(), stdin);
  const hago::Tensor scores = model.Run({image})[0];
  const float* first = scores.data<float>();
  std::printf("%td\\n", std::max_element(first, first + scores.spec().elements()) - first);
}
"""
)
(program / "CMakeLists.txt").write_text(
    f"""
cmake_minimum_required(VERSION 3.20)
project(program LANGUAGES CXX)
add_subdirectory({sources} hago)
add_executable(program main.cc)
target_link_libraries(program PRIVATE hago)
"""
)
own = scratch / "own"
configure = ["cmake", "-S", program, "-B", own, f"-DPython3_EXECUTABLE={sys.executable}"]
subprocess.run(configure, check=True, capture_output=True)
subprocess.run(["cmake", "--build", own], check=True, capture_output=True)

images, labels = digits_test()
read = [
    int(subprocess.run([own / "program", artifact], input=image.tobytes(), stdout=-1).stdout)
    for image in images[:10]
]
print("read ", read)
print("label", labels[:10])
assert sum(a == b for a, b in zip(read, labels, strict=False)) >= 9

# %% [markdown]
# ## The ready-made runner
#
# `hago-run` takes and writes `.npy` files, and times an artifact.

# %%
np.save(scratch / "image.npy", images[:1])
files = ["--input", f"image={scratch}/image.npy", "--output", f"scores={scratch}/scores.npy"]
subprocess.run([build / "hago-run", artifact, *files], check=True)
print(np.load(scratch / "scores.npy").round(1))
subprocess.run([build / "hago-run", artifact, "--bench", "0.5"], check=True)
