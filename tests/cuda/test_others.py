"""Everything that is no int8 product: the text that nvcc gets, run without a GPU."""

import ml_dtypes  # noqa: F401  numpy learns bfloat16 from it
import numpy as np
import pytest

from hago.codegen.workload import (
    BatchMatmul,
    Conv2d,
    Elementwise,
    GroupedMatmul,
    Matmul,
    Permute,
    Pool2d,
    RowReduce,
    Table,
)
from tests.codegen.recipes import Recipe
from tests.cuda.cases import PLAYED, play_each

INT8, PAD = {"data": "int8", "weight": "int8"}, (1, 1, 1, 1)
BF16 = {"data": "bfloat16", "weight": "bfloat16"}
INTEGERS = {
    "sum of bytes": (RowReduce("sum", 9, 100, data="uint8"), Recipe()),
    "sum of signed bytes in long rows": (RowReduce("sum", 3, 2500, data="int8"), Recipe()),
    "depthwise 3x3": (Conv2d(2, 7, 6, 20, 20, 3, 3, padding=PAD, groups=20, **INT8), Recipe()),
    "depthwise 3x3, stride 2": (
        Conv2d(1, 8, 7, 16, 16, 3, 3, (2, 2), (0, 0, 1, 1), groups=16, **INT8), Recipe(),
    ),
    "depthwise 5x5": (
        Conv2d(1, 9, 9, 12, 12, 5, 5, (1, 1), (2, 2, 2, 2), groups=12, **INT8),
        Recipe(activation="relu6", output="int8"),
    ),
    "depthwise 5x5, stride 2, other padding than zero": (
        Conv2d(1, 9, 9, 8, 8, 5, 5, (2, 2), (2, 1, 2, 2), groups=8, pad_code=-7, **INT8), Recipe(),
    ),
    "depthwise 3x3, dilated": (
        Conv2d(1, 9, 9, 8, 8, 3, 3, (1, 1), (2, 2, 2, 2), (2, 2), 8, **INT8), Recipe(),
    ),
    "depthwise of 7 channels": (
        Conv2d(1, 6, 6, 7, 7, 3, 3, padding=PAD, groups=7, pad_code=3, **INT8), Recipe(),
    ),
    "max pool": (
        Pool2d("max", 1, 7, 8, 12, (3, 3), (2, 2), PAD, "int8"), Recipe(output="int8"),
    ),
    "mean of an image": (Pool2d("avg", 2, 7, 7, 36, (7, 7), (1, 1), data="int8"), Recipe()),
    "table": (Table((3, 50), "int8", "int8"), Recipe()),
    "permutation of bytes": (Permute((2, 9, 3, 8), (0, 2, 1, 3), "int8"), Recipe()),
    "transposition of bytes": (Permute((2, 40, 3, 36), (0, 2, 3, 1), "int8"), Recipe()),
    "rows to columns, few": (Permute((1, 3, 7, 9), (0, 2, 3, 1), "int8"), Recipe()),
}  # fmt: skip
FLOATS = {
    "groups of 32": (GroupedMatmul(17, 40, 96, 32, **INT8), Recipe()),
    "groups of 128": (GroupedMatmul(70, 37, 256, 128, **INT8), Recipe(output="int8")),
    "float32 3x3": (Conv2d(1, 7, 6, 5, 11, 3, 3, padding=PAD), Recipe(output="int8")),
    "float32 matmul": (Matmul(70, 66, 40), Recipe(residual="float32")),
    "float32 attention": (BatchMatmul(2, 9, 13, 21), Recipe()),
    "depthwise float32": (Conv2d(1, 6, 7, 12, 12, 3, 3, padding=PAD, groups=12), Recipe()),
    "depthwise float32, stride 2, dilated": (
        Conv2d(1, 9, 9, 6, 6, 3, 3, (2, 2), (2, 2, 2, 2), (2, 2), 6), Recipe(activation="silu"),
    ),
    "mean pool": (Pool2d("avg", 1, 5, 6, 9, (2, 2), (1, 2)), Recipe()),
    "softmax": (RowReduce("softmax", 7, 100), Recipe(output="int8")),
    "long softmax": (RowReduce("softmax", 3, 2500), Recipe()),
    "exp of shifted rows": (RowReduce("shifted_exp", 7, 100), Recipe(output="int8")),
    "long exp of shifted rows": (RowReduce("shifted_exp", 3, 2500), Recipe()),
    "sum of floats": (RowReduce("sum", 5, 77), Recipe()),
    "layer_norm": (RowReduce("layer_norm", 6, 384, 1e-5), Recipe(output="int8")),
    "layer_norm of odd length": (RowReduce("layer_norm", 5, 77, 1e-5), Recipe()),
    "rms_norm": (RowReduce("rms_norm", 6, 384, 1e-5), Recipe(output="int8")),
    "rms_norm of odd length": (RowReduce("rms_norm", 5, 77, 1e-5), Recipe()),
    "long rms_norm": (RowReduce("rms_norm", 3, 2500, 1e-5), Recipe()),
    "elementwise": (Elementwise((4, 5, 12)), Recipe(activation="tanh", output="int8")),
    "elementwise, odd": (Elementwise((33, 7)), Recipe(residual="int8", activation="gelu")),
    "elementwise, gelu by tanh": (Elementwise((7, 9)), Recipe(activation="gelu_tanh")),
    "elementwise, a column": (Elementwise((2, 1, 1)), Recipe(residual="float32")),
    "transposition": (Permute((33, 40), (1, 0)), Recipe()),
}
BFLOATS = {
    "sum of bfloat16": (RowReduce("sum", 5, 96, data="bfloat16"), Recipe()),
    "groups of 32": (GroupedMatmul(17, 40, 96, 32, **INT8), Recipe()),
    "groups of 128": (GroupedMatmul(70, 37, 256, 128, **INT8), Recipe(output="int8")),
    "bfloat16 3x3": (Conv2d(1, 7, 6, 8, 16, 3, 3, padding=PAD, **BF16), Recipe()),
    "bfloat16 matmul, odd": (Matmul(35, 41, 67, **BF16), Recipe()),
    "bfloat16 attention": (BatchMatmul(2, 17, 21, 40, **BF16), Recipe()),
    "depthwise bfloat16": (Conv2d(1, 6, 6, 8, 8, 3, 3, padding=PAD, groups=8, **BF16), Recipe()),
    "mean of a bfloat16 image": (
        Pool2d("avg", 1, 7, 7, 8, (7, 7), (1, 1), data="bfloat16"), Recipe(),
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=PLAYED)
def played(request, tmp_path_factory):
    more = {} if request.param == "cuda-sm75" else BFLOATS
    workloads = {**INTEGERS, **FLOATS, **more}
    return play_each(workloads, request.param, tmp_path_factory.mktemp("cuda"))


# float32 sums of n terms: each addition rounds by eps / 2 of the partial sum, and recipes bring the
# sums to no more than 8. The longest here has 363 products, rows have 2500 elements.
SLACK = 8 * 2500 * float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("name", [*INTEGERS, *FLOATS, *BFLOATS])
def test_a_kernel_equals_its_meaning(played, name):
    cases, program, names = played
    if name not in cases:
        assert name in BFLOATS, "Turing's tensor cores have no bfloat16"
        return
    cases[name].check(program, names[name], slack=0.0 if name in INTEGERS else SLACK)
