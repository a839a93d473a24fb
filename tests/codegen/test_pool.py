"""Pooling equals its numpy meaning for any window, stride and padding."""

import numpy as np
import pytest
from hypothesis import given

from hago.codegen.epilogue import Epilogue
from hago.codegen.fold import fold
from hago.codegen.kernels.pool import build_pool
from hago.codegen.workload import Pool2d
from tests.codegen.isa import MACHINES, machine, random_tensor, run
from tests.codegen.judge import assert_equal
from tests.codegen.recipes import PLAIN, Recipe, recipes
from tests.codegen.workloads import FEW, pools


def meaning(workload, data):
    """Maximum or sum of what each window covers of the image."""
    n, oh, ow, c = workload.output_shape
    top, left = workload.padding[:2]
    out = np.zeros((n, oh, ow, c), np.float64)
    for y in range(oh):
        for x in range(ow):
            rows, columns = (
                slice(max(0, at * stride - before), at * stride - before + window)
                for at, stride, before, window in zip(
                    (y, x), workload.strides, (top, left), workload.window, strict=True
                )
            )
            window = data[:, rows, columns].astype(np.float64)
            out[:, y, x] = (window.max if workload.kind == "max" else window.sum)(axis=(1, 2))
    return out.astype(workload.accum)


def check(workload, recipe, isa):
    random = np.random.default_rng(0)
    data = random_tensor(random, (workload.n, workload.h, workload.w, workload.c), workload.data)
    exact = meaning(workload, data)
    epilogue, operands = recipe.build(exact, random)
    kernel = build_pool(workload, fold(epilogue), machine(isa))
    output = np.zeros(workload.output_shape, epilogue.dtype)
    actual = run(kernel, isa, [data, *operands], output)
    # Sums of at most 16 normal numbers round by 16 * eps * 64.
    assert_equal(actual, epilogue, exact, operands, 1e-4 if workload.accum == "float32" else 0.0)


@pytest.mark.parametrize("isa", MACHINES)
@FEW
@given(workload=pools(), recipe=recipes(PLAIN))
def test_any_pooling(isa, workload, recipe):
    check(workload, recipe, isa)


@pytest.mark.parametrize("isa", ["vnni", "avx2"])
@pytest.mark.parametrize("data", ["float32", "uint8", "int8"])
def test_the_mean_over_an_image(data, isa):
    check(Pool2d("avg", 2, 7, 7, 100, (7, 7), (1, 1), data=data), Recipe(output="uint8"), isa)


@pytest.mark.parametrize("data", ["float32", "uint8", "int8"])
def test_padding_is_never_the_maximum(data):
    lowest = {"float32": -1e30, "uint8": 0, "int8": -128}[data]
    workload = Pool2d("max", 1, 3, 3, 20, (3, 3), (1, 1), (1, 1, 1, 1), data)
    image = np.full((1, 3, 3, 20), lowest, data)
    kernel = build_pool(workload, Epilogue(data, data), machine("avx2"))
    assert np.all(run(kernel, "avx2", [image], np.zeros((1, 3, 3, 20), data)) == image)
