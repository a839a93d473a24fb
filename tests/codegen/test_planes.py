"""Codes of few bits: packed and unpacked, in numpy and by the kernel."""

import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st

from hago.codegen.kernels.unpack import build_unpack
from hago.codegen.planes import needed_bits, pack_codes, packed_bytes, unpack_codes
from hago.codegen.workload import Kernel
from tests.codegen.isa import MACHINES, compiled, machine


def codes_of(bits, count, seed=0):
    """Codes of ``bits``, the extremes among them."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    random = np.random.default_rng(seed)
    return np.array([low, high, *random.integers(low, high + 1, count - 2)], np.int8)


@given(st.integers(2, 7), st.sampled_from([16, 32, 64]), st.integers(2, 2000))
def test_what_is_packed_comes_out_again(bits, lanes, count):
    codes = codes_of(bits, count)
    packed = pack_codes(codes, bits, lanes)
    assert packed.shape == (packed_bytes(count, bits, lanes),)
    assert np.array_equal(unpack_codes(packed, bits, lanes, count), codes)


@pytest.mark.parametrize("bits", range(2, 8))
def test_a_whole_number_of_blocks_wastes_nothing(bits):
    assert packed_bytes(8 * 64 * 5, bits, 64) == 8 * 64 * 5 * bits // 8


@pytest.mark.parametrize(
    ("codes", "bits"),
    [([0], 2), ([-2, 1], 2), ([2], 3), ([-4, 3], 3), ([7], 4), ([-8], 4), ([8], 5), ([-9], 5),
     ([127], 8), ([-128], 8)],
)  # fmt: skip
def test_the_fewest_bits_in_twos_complement(codes, bits):
    assert needed_bits(np.array(codes, np.int8)) == bits


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_the_kernel_means_what_numpy_says(isa, bits, dtype):
    shape = (131, 517)  # many blocks and a bit, for two tasks
    codes = codes_of(bits, shape[0] * shape[1])
    built = Kernel(build_unpack(shape, dtype, bits, machine(isa)), None, "unpack")
    packed = tvm.runtime.tensor(pack_codes(codes, bits, MACHINES[isa].vector_bytes))
    output = tvm.runtime.tensor(np.full(shape, 77, dtype))
    compiled(built, isa)["main"](packed, output)
    assert np.array_equal(output.numpy(), codes.reshape(shape).astype(dtype))
