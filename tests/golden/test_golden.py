"""The integer graph of a small network on each kind of machine, as text that a person can review.

``pytest tests/golden --update-golden`` writes the files anew; the diff is then the change of
behaviour that a commit has to answer for.
"""

from pathlib import Path

import numpy as np
import pytest

from hago.dataflow import read_dataflow
from hago.hardware.load import load_spec
from hago.realize import realize
from tests.graphs import attention, input_for, quantized, residual_network

FOLDER = Path(__file__).parent
MODELS = {"residual": residual_network, "attention": attention}
# u8 x s8 in float; paired weights; fixed point; symmetric; fp8 with stored int4.
MACHINES = ("x86-vnni", "x86-avx2", "arm-dotprod", "cuda-sm80", "gaudi-fp8")


def as_text(model, realized):
    """The edges with their schemes, then the graph, a line for each operation."""
    lines = [f"{edge}  {scheme}" for edge, scheme in model.strategy.items()]
    lines.append("")
    for node in read_dataflow(realized).nodes:
        inputs = ", ".join(name for name in node.inputs if not name.startswith(f"{node.name}."))
        constants = ", ".join(describe(value) for _, value in sorted(node.constants.items()))
        arguments = "; ".join(part for part in (inputs, constants) if part)
        lines.append(f"{node.name}: {node.dtype}{list(node.shape)} = {node.op}({arguments})")
    return "\n".join(lines) + "\n"


def describe(value):
    """A constant's type; the value itself if it is one number."""
    if value.size == 1:
        return f"{value.reshape(()).item():.3g}"  # other processors differ in later digits
    return f"{value.dtype}{list(value.shape)}"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", MODELS)
def test_the_integer_graph_is_the_reviewed_one(name, machine, request):
    module = MODELS[name]()
    model = quantized(module, load_spec(machine), input_for(module))
    text = as_text(model, realize(model))
    path = FOLDER / f"{name}-{machine}.txt"
    if request.config.getoption("--update-golden"):
        path.write_text(text)
    assert text.splitlines() == path.read_text().splitlines()


def test_a_constant_is_told_by_its_type_or_its_number():
    assert describe(np.float32([0.5])) == "0.5"
    assert describe(np.zeros((2, 3), np.int8)) == "int8[2, 3]"
