# %% [markdown]
# # From a float model to a low-bit artifact
#
# A small network for handwritten digits comes with hago: residual blocks, depthwise and grouped
# convolutions, trained on real digits. We quantize it for this computer, look at why the graph
# became what it is, run the result, and compare it with float on labelled images.

# %%
import tempfile
from pathlib import Path

import hago
from hago.demo import digits_calibration, digits_model, digits_test
from hago.hardware.host import host_spec

machine = host_spec().name
folder = Path(tempfile.mkdtemp()) / "artifact"
print(f"this computer is a '{machine}'")

# %% [markdown]
# ## What may each edge be?
#
# Before anything is measured: an *edge* is a tensor on its way into one operand of one operator.
# The machine's specification offers schemes for it, and names the row that does.

# %%
report = hago.inspect_model(digits_model(), machine)
for edge in report.edges[:6]:
    print(f"{edge.edge:40} {edge.chosen:28} {edge.source}")

# %% [markdown]
# ## Compile
#
# The calibration data are dictionaries of arrays, one a sample; an `.npz` works as well.
# Everything that the machine offers is built and raced against float32; the fastest is kept.

# %%
result = hago.compile_model(digits_model(), machine, digits_calibration(), folder)
print(f"{result.precision}: {result.compiled.latency_ms:.3f} ms", end="")
if result.baseline is not None:
    print(f", float32: {result.baseline.latency_ms:.3f} ms")
print({name: round(value, 4) for name, value in result.accuracy.items()})

# %% [markdown]
# ## Why is it so?
#
# The artifact remembers every decision with its reason and its numbers.

# %%
quantized = next(edge for edge in result.edges if edge.scale is not None)
told = hago.explain_edge(folder, quantized.edge)
print(told.edge, told.chosen, told.scale, told.zero_point)
print(told.reason, told.source)

# %% [markdown]
# ## Run it
#
# Loading needs neither the model file nor the compiler, only the artifact's folder.

# %%
model = hago.load(folder)
images, labels = digits_test()
right = 0
for image, label in zip(images[:300], labels[:300], strict=True):
    scores = model.run({"image": image[None]})["scores"]
    right += int(scores.argmax() == label)
print(f"{right} of 300 held-out digits are read correctly")
assert right >= 290, "the float model reads 99.1 % of them"
