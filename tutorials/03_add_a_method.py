# %% [markdown]
# # A method of your own
#
# A method computes *numbers* (scales, zero points, rounded weights) for a graph whose precisions
# are decided. It is one frozen dataclass: its fields are its options, `apply` takes the model and
# the statistics of the calibration data. This one clips activations at a multiple of their
# standard deviation.

# %%
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

import hago
from hago.calibrate import Stats
from hago.demo import digits_calibration, digits_model
from hago.graph import QuantModel
from hago.hardware.host import host_spec
from hago.methods.assign import refill
from hago.methods.method import register
from hago.pipeline import Options


@register
@dataclass(frozen=True)
class StandardDeviations:
    """Ranges of ``count`` standard deviations around the mean, inside of what was seen."""

    name: ClassVar[str] = "deviations"
    paper: ClassVar[str] = "none: a rule of thumb"
    count: float = 6.0

    def apply(self, model: QuantModel, stats: Stats) -> QuantModel:
        def range_of(source: str, scheme: object) -> tuple[float, float]:
            seen = stats[source]
            centers, counts = seen.histogram.centers, seen.histogram.counts
            mean = float(np.average(centers, weights=counts))
            spread = self.count * float(np.sqrt(np.average((centers - mean) ** 2, weights=counts)))
            return max(seen.low, mean - spread), min(seen.high, mean + spread)

        return refill(model, range_of)


# %% [markdown]
# ## Use it
#
# A registered method is known by its name, as are those of packages with the entry point
# `hago.methods`. Methods are applied in the order of the recipe.

# %%
figures = {}
for recipe in (("min_max",), ("mse",), ("deviations",)):
    folder = Path(tempfile.mkdtemp()) / "artifact"
    options = Options(precision="int8", recipe=recipe)
    result = hago.compile_model(
        digits_model(), host_spec().name, digits_calibration(), folder, options
    )
    figures[recipe[0]] = result.accuracy["sqnr_db"]
    print(f"{recipe[0]:12} {result.accuracy['sqnr_db']:.2f} dB")

# %% [markdown]
# The rule of thumb is much worse than the published methods: it cuts off values without weighing
# what that costs, while `mse` looks for the range with the least error. So does every measure of
# a real method: against the simplest one, on the same data.

# %%
assert figures["deviations"] < figures["mse"]
