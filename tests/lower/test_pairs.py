"""Which weights are proven to be multiplied in pairs of 16 bits."""

import numpy as np
import pytest

from hago.codegen.epilogue import Epilogue
from hago.codegen.select import choose_dot
from hago.codegen.workload import Matmul
from hago.hardware.load import load_spec
from hago.lower.group import Group
from hago.lower.pairs import with_pairs
from hago.lower.select import machine_of


def group_of(weight: np.ndarray, data: str = "int8") -> Group:
    work = Matmul(1, weight.shape[1], weight.shape[0], data=data, weight="int8")
    return Group("matmul", "matmul", work, Epilogue("int32", "int32"), (1, weight.shape[1]),
                 ("x",), weight, (), frozenset({"matmul"}))  # fmt: skip


def test_the_worst_pair_fits_16_bits_and_the_next_does_not():
    assert 2 * 128 * 127 <= 2**15 - 1 < 2 * 128 * 128


@pytest.mark.parametrize(("lowest", "product"), [(-127, "smull"), (-128, "smlal")])
def test_one_weight_decides_which_instruction_multiplies(lowest, product):
    weight = np.zeros((16, 4), np.int8)
    weight[7, 2] = lowest
    work = with_pairs(group_of(weight)).workload
    assert choose_dot(work, machine_of(load_spec("arm-neon"))).name == product


def test_unsigned_codes_and_unknown_weights_are_not_declared():
    weight = np.ones((16, 4), np.int8)
    for group in (group_of(weight, "uint8"), group_of(weight.astype(np.float32))):
        assert with_pairs(group) is group
