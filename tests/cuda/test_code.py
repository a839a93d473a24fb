"""The hot loops are made of the instructions that the specification names."""

import re

import pytest

from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import BatchMatmul, Conv2d, GroupedMatmul, Matmul
from hago.hardware.load import load_spec
from hago.lower.select import build_kernel, find_template, machine_of
from tests.cuda.cases import BY_WARPS
from tests.cuda.ptx import instructions, loops, ptx

INT8 = {"data": "int8", "weight": "int8"}
BF16 = {"data": "bfloat16", "weight": "bfloat16"}
INT4 = {"data": "int4", "weight": "int4"}
DEEP = {
    "matmul": Matmul(2048, 2048, 4096, **INT8),
    "conv": Conv2d(8, 56, 56, 128, 128, 3, 3, padding=(1, 1, 1, 1), **INT8),
    "attention": BatchMatmul(12, 512, 512, 512, **INT8),
    "groups": GroupedMatmul(2048, 2048, 4096, 64, **INT8),
    "bfloat16": Matmul(2048, 2048, 4096, **BF16),
    "nibbles": Matmul(2048, 2048, 4096, **INT4),
    "depthwise": Conv2d(8, 56, 56, 96, 96, 3, 3, padding=(1, 1, 1, 1), groups=96, **INT8),
}
# What PTX calls the instructions of the specifications' rows.
NAMES = {
    "mma.m8n8k16.s8": "mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32",
    "mma.m16n8k32.s8": "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32",
    "mma.m8n8k32.s4": "mma.sync.aligned.m8n8k32.row.col.s32.s4.s4.s32",
    "mma.m16n8k64.s4": "mma.sync.aligned.m16n8k64.row.col.s32.s4.s4.s32",
    "mma.m16n8k16.bf16": "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
}


def plain(workload):
    accumulator = "float32" if isinstance(workload, GroupedMatmul) else workload.accum
    return Epilogue(accumulator, accumulator)


@pytest.fixture(scope="module", params=BY_WARPS)
def code(request):
    """PTX by name, and what rows of the machine name for each."""
    spec = load_spec(request.param)
    device = machine_of(spec)
    names = [name for name, work in DEEP.items() if find_template(work, device) is not None]
    kernels = [build_kernel(DEEP[n], plain(DEEP[n]), device) for n in names]
    return spec, dict(zip(names, ptx(kernels, request.param), strict=True))


def intrinsic(spec, name):
    """The instruction that the specification's first row for such a product names."""
    op = {"conv": "conv2d", "attention": "batch_matmul"}.get(name, "matmul")
    dtype = {"bfloat16": "bfloat16", "nibbles": "int4"}.get(name, "int8")
    rows = [row for row in spec.ops if row.op == op and str(row.inputs[0].dtype) == dtype]
    return rows[0].intrinsic


@pytest.mark.parametrize("name", [name for name in DEEP if name != "depthwise"])
def test_tensor_cores_multiply_in_the_loop(code, name):
    spec, text = code
    if name not in text:
        lacking = {"bfloat16": "cuda-sm75", "nibbles": "cuda-sm90"}
        assert lacking[name] == spec.name
        return
    instruction = NAMES[intrinsic(spec, name)]
    inner = max(loops(text[name]), key=lambda loop: instructions(loop)[instruction])
    # A warp's 32x32 sums or more, 64 bytes deep: 2x4 fragments of 16x8, twice; Turing takes four
    # instructions for each.
    assert instructions(inner)[instruction] >= 16
    assert not re.search(r"\tmul\.(lo|wide)\.s16|dp4a", inner), "products outside of tensor cores"


@pytest.mark.parametrize("name", ["matmul", "conv"])
def test_tiles_arrive_in_the_background_from_ampere_on(code, name):
    spec, text = code
    found = instructions(text[name])
    if machine_of(spec).capability >= 80:
        assert found["cp.async.cg.shared.global"] > 0
    else:
        assert found["ldmatrix.sync.aligned.m8n8.x4.shared.b16"] > 0
        assert not any(each.startswith("cp.async") for each in found)


def test_depthwise_convolutions_sum_four_taps_at_once(code):
    _, text = code
    found = instructions(text["depthwise"])
    # Three rows of one word a pixel, two pixels, four channels.
    assert found["dp4a.s32.s32"] == 24
    assert found["ld.global.v4.u32"] + found["ld.global.nc.v4.u32"] <= 6
