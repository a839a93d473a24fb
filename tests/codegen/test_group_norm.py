"""Group normalisation equals its numpy meaning over any images and groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hago.codegen.epilogue import Epilogue
from hago.codegen.fold import fold
from hago.codegen.kernels.group_norm import build_group_norm
from hago.codegen.workload import GroupNorm
from tests.codegen.isa import MACHINES, machine, run
from tests.codegen.judge import assert_equal
from tests.codegen.recipes import PLAIN, Recipe, recipes
from tests.codegen.workloads import FEW

IMAGES = st.one_of(
    st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 7)),
    st.tuples(st.integers(1, 2), st.integers(1, 40)),
)


def meaning(workload, data, gamma, beta):
    rows = data.astype(np.float64).reshape(len(data), -1, workload.groups, workload.width)
    centred = rows - rows.mean((1, 3), keepdims=True)
    normal = centred / np.sqrt((centred**2).mean((1, 3), keepdims=True) + workload.epsilon)
    return normal.reshape(data.shape) * gamma + beta


def check(workload, recipe, isa, offset=0.0):
    def compute(epilogue, inputs, output):
        return run(build_group_norm(workload, fold(epilogue), machine(isa)), isa, inputs, output)

    judge(workload, recipe, compute, offset)


def judge(workload, recipe, compute, offset=0.0):
    """``compute(epilogue, inputs, output)`` equals the meaning, as far as sums are rounded."""
    random = np.random.default_rng(0)
    data = (random.normal(size=workload.shape) + offset).astype(np.float32)
    gamma, beta = (random.normal(size=workload.channels).astype(np.float32) for _ in range(2))
    accumulator = meaning(workload, data, gamma, beta).astype(np.float32)
    epilogue, operands = recipe.build(accumulator, random)
    output = np.zeros(workload.output_shape, epilogue.dtype)
    actual = compute(epilogue, [data, gamma, beta, *operands], output)
    # As for rows of a layer normalization, tests/codegen/test_reduce.py.
    rows = data.reshape(workload.shape[0], -1, workload.groups, workload.width)
    deviation = max(float(rows.std((1, 3)).min()), workload.epsilon**0.5)
    summed = workload.pixels * workload.width
    error = 4 * summed * 6e-8 * np.abs(data).max() * np.abs(gamma).max() / deviation + 1e-5
    slack = error * 8 / max(1.0, float(np.abs(accumulator).max()))
    assert_equal(actual, epilogue, accumulator, operands, slack)


@pytest.mark.parametrize("isa", MACHINES)
@FEW
@given(
    image=IMAGES,
    groups=st.integers(1, 9),
    width=st.integers(1, 24),
    recipe=recipes(PLAIN),
    offset=st.sampled_from([0.0, -20.0]),
)
def test_any_group_norm(isa, image, groups, width, recipe, offset):
    workload = GroupNorm((*image, groups * width), groups, 1e-5)
    check(workload, recipe, isa, offset)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@pytest.mark.parametrize("groups", [1, 8, 32, 80, 320])
def test_channels_of_a_diffusion_model(groups, isa):
    check(GroupNorm((1, 8, 8, 320), groups, 1e-5), Recipe(output="uint8"), isa)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
def test_an_image_of_one_number_is_its_shift(isa):
    workload = GroupNorm((1, 5, 5, 12), 4, 1e-5)
    data = np.full(workload.shape, 3.25, np.float32)
    gamma, beta = np.full(12, 2.0, np.float32), np.arange(12, dtype=np.float32)
    kernel = build_group_norm(workload, Epilogue("float32", "float32"), machine(isa))
    actual = run(kernel, isa, [data, gamma, beta], np.zeros(workload.shape, np.float32))
    np.testing.assert_allclose(actual, np.broadcast_to(beta, data.shape), atol=1e-3)
