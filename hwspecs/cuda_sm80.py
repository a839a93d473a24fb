"""NVIDIA Ampere, compute capability 8.0: A100.

Sources: [PTX] NVIDIA PTX ISA, "dp4a" and "mma"; [GA] NVIDIA A100 Tensor Core GPU Architecture white
paper: 624 Top/s int8, 1,248 int4, 312 bfloat16 and 19.5 float32 without sparsity, on 108
multiprocessors at 1.41 GHz; 164 KB of shared memory for each.
"""

from hago.hardware import bf16, f32, machine, memory, op, rows_of, s4, s8, s32

DENSE = ("conv2d", "matmul")

MACHINE = machine(
    "cuda-sm80",
    description="NVIDIA Ampere tensor cores (A100)",
    target={"kind": "cuda", "arch": "sm_80"},
    needs=("sm_80",),
    # A core is a multiprocessor: its shared memory, the L2 of all, its share of 1,555 GB/s.
    memory=memory(l1="164K", l2="40M", bandwidth=10.0),
    ops=[
        # [PTX] mma.m16n8k32 with s8 operands, sm_80 and later; both operands signed. What a
        # zero point adds to sums is known beforehand, for weights are constant.
        op(DENSE, s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32), by="mma.m16n8k32.s8",
           align={"k": 32, "n": 8, "m": 16}, throughput=4096),
        op("batch_matmul", s8, s8, sums_in=s32, gives=(s8, f32), by="mma.m16n8k32.s8",
           align={"k": 32, "n": 8, "m": 16}, throughput=4096),
        # [PTX] mma.m16n8k64 with s4 operands.
        op(DENSE, s4, s4.per_channel, sums_in=s32, gives=(s8, f32), by="mma.m16n8k64.s4",
           align={"k": 64, "n": 8, "m": 16}, throughput=8192),
        # [PTX] mma.m16n8k16 with bf16 operands.
        op((*DENSE, "batch_matmul"), bf16, bf16, sums_in=f32, gives=(bf16, f32),
           by="mma.m16n8k16.bf16", align={"k": 16, "n": 8, "m": 16}, throughput=2048),
        # What is no matrix product: codes as on Turing, bfloat16 widened to float32 on the way in.
        rows_of("cuda-sm75", s8, by=("dp4a", "fma.f32")),
        op(("depthwise_conv2d", "add", "multiply"), bf16, bf16, sums_in=f32, gives=(bf16, f32),
           by="fma.f32", throughput=64),
        op(("avg_pool2d", "max_pool2d", "concat", "resize2d", "move"), bf16, sums_in=f32,
           gives=(bf16, f32), by="fma.f32", throughput=64),
        rows_of("cuda-sm75", f32, by="fma.f32"),
    ],
)
