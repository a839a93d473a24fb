# %% [markdown]
# # The best precision of every edge, within a bound
#
# One precision for all is seldom best: some layers lose accuracy in 8 bits and gain little. A
# *search* lowers groups of edges where it pays on this device and leaves the rest, within a bound
# that you set. What it measures stays in a *session*: a folder that may be left at any moment and
# continued later.

# %%
import tempfile
from pathlib import Path

import numpy as np

import hago
from hago.demo import digits_calibration, digits_model, digits_test
from hago.hardware.host import host_spec
from hago.search.findings import read_findings
from hago.search.goal import Goal
from hago.search.outcome import Outcome, pareto_front
from hago.search.page import write_page
from hago.search.request import Effort, Request
from hago.search.tune import tune

workplace = Path(tempfile.mkdtemp())
images, labels = digits_test()

# %% [markdown]
# ## What is asked for
#
# The fastest network that agrees with float32 on at least 99 % of 64 held-out digits. Calibration
# and judgement use different data: a bound that is kept on what the ranges were fitted to says
# little. With labels, `metric="accuracy"` counts right answers instead of agreement.

# %%
request = Request(
    model=digits_model(),
    hardware=host_spec().name,
    data=digits_calibration(),
    goal=Goal("latency", max_drop=0.01),
    judged_on=[{"image": image[None]} for image in images[:64]],
    samples=64,
    cache=workplace / "latencies",
)

# %% [markdown]
# ## A first run
#
# Each trial is a precision for every group of edges, chosen by one of the *proposers* (integer
# programming over what was measured comes first) and then simulated, built and measured as a
# whole. On the command line this is
# `hago tune digits.onnx --hw ... --data ... --session tuning --max-drop 1% --trials 3`.


# %%
def show(outcome: Outcome) -> None:
    print(f"{outcome.groups} groups, {outcome.strategies} strategies; {outcome.stopped}")
    for record in outcome.records:
        figures = record.known
        mix = ", ".join(f"{record.precisions.count(p)} {p}" for p in sorted({*record.precisions}))
        print(f"  {record.trial}  {figures.latency_ms:.3f} ms, drop {figures.drop:.4f}: {mix}")


session = workplace / "tuning"
first = tune(request, session, Effort(trials=3))
show(first)

# %% [markdown]
# ## Go on
#
# The same session with a larger budget starts where it was left: nothing is measured twice, and
# the best artifact was there, ready to be loaded, from the first trial that kept the bound.

# %%
second = tune(request, session, Effort(trials=4))
show(second)
assert second.records[: len(first.records)] == first.records
assert second.is_met

# %% [markdown]
# ## What was found
#
# The trials that no other one beats in accuracy, latency and size together, and one page with
# all of it: `hago report tuning` writes the same.

# %%
for record in pareto_front(second.records):
    assert record.measured is not None
    print(record.trial, record.measured)
write_page(read_findings(session), workplace / "report.html")

# %% [markdown]
# ## Use it
#
# The best is an artifact like any other.

# %%
model = hago.load(second.artifact)
answers = [model.run({"image": image[None]})["scores"].argmax() for image in images[:300]]
right = int(np.sum(np.asarray(answers) == labels[:300]))
print(f"{right} of 300 held-out digits are read correctly")
assert right >= 290, "the float model reads 99.1 % of them"
