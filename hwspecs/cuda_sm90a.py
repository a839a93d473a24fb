"""NVIDIA Hopper by the instructions that only it has: H100, H200.

Sources: [PTX] NVIDIA PTX ISA, "wgmma.mma_async"; [GH] as of cuda-sm90: 1,979 Top/s int8 and fp8,
989 bfloat16, which only wgmma reaches. [SASS] nvcc 13.0 makes IGMMA, QGMMA and HGMMA of it. Code
for sm_90a runs on no other GPU. [FP8] QGMMA keeps 13 bits of a sum behind the leading one (Khattak
and Mikaitis, arXiv 2512.07004), so kernels add up 128 products at a time in float32.
[DPQ] as of cuda-sm90.

No GPU was at hand: order between stores, copies and these instructions, descriptors and fragments
are as [PTX] says, on the CPU that plays the GPU. cuda-sm90 does without what is new here.
"""

from hago.hardware import bf16, e4m3, f32, machine, memory, op, rows_of, s4, s8, s32

DENSE = ("conv2d", "matmul")

MACHINE = machine(
    "cuda-sm90a",
    description="NVIDIA Hopper tensor cores by warpgroups (H100)",
    target={"kind": "cuda", "arch": "sm_90a"},
    needs=("sm_90a",),
    # As of cuda-sm90.
    memory=memory(l1="228K", l2="50M", bandwidth=13.0),
    ops=[
        # [PTX] wgmma.m64nNk32 with s8 operands, from shared memory; both operands signed.
        op(DENSE, s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32),
           by="wgmma.m64nNk32.s8", align={"k": 32, "n": 8, "m": 64}, throughput=8192),
        op("batch_matmul", s8, s8, sums_in=s32, gives=(s8, f32), by="wgmma.m64nNk32.s8",
           align={"k": 32, "n": 8, "m": 64}, throughput=8192),
        # [PTX] wgmma.m64nNk32 with e4m3 operands.
        # [DPQ] Weights may be stored as s4 in groups, and become e4m3 on the way to shared memory.
        op(DENSE, e4m3, e4m3.per_channel.stored_as(s4), sums_in=f32,
           gives=(e4m3, bf16, f32), by="wgmma.m64nNk32.e4m3", align={"k": 32, "n": 8, "m": 64},
           throughput=8192),
        op("batch_matmul", e4m3, e4m3, sums_in=f32, gives=(e4m3, bf16, f32),
           by="wgmma.m64nNk32.e4m3", align={"k": 32, "n": 8, "m": 64}, throughput=8192),
        # [PTX] wgmma.m64nNk16 with bf16 operands.
        op((*DENSE, "batch_matmul"), bf16, bf16, sums_in=f32, gives=(bf16, f32),
           by="wgmma.m64nNk16.bf16", align={"k": 16, "n": 8, "m": 64}, throughput=4096),
        # Products of few rows, and what is no product.
        rows_of("cuda-sm90", s8, by=("mma.m16n8k32.s8", "dp4a", "fma.f32")),
        rows_of("cuda-sm90", e4m3, by=("mma.m16n8k32.e4m3", "fma.f32")),
        rows_of("cuda-sm90", bf16, by=("mma.m16n8k16.bf16", "fma.f32")),
        rows_of("cuda-sm90", f32, by="fma.f32"),
    ],
)
