"""NVIDIA Ampere, compute capability 8.0: A100.

Sources: [PTX] NVIDIA PTX ISA, 9.7.13 (dp4a) and 9.7.14 (mma);
[TUNE] NVIDIA Ampere Tuning Guide, 1.4.
"""

from hago.hardware import bf16, f32, machine, memory, op, s4, s8, s32

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "cuda-sm80",
    description="NVIDIA Ampere tensor cores (A100)",
    target={"kind": "cuda", "arch": "sm_80"},
    needs=("sm_80",),
    # Of one streaming multiprocessor: shared memory and its share of L2.
    memory=memory(l1="164K", l2="40M", bandwidth=10.0),
    ops=[
        # [PTX] mma.m16n8k32 with s8 operands, sm_80 and later; both operands signed.
        op(DENSE, s8, s8.per_channel, sums_in=s32, gives=(s8, f32), by="mma.m16n8k32.s8",
           align={"k": 32, "n": 8, "m": 8}, throughput=4096),
        op("batch_matmul", s8, s8, sums_in=s32, gives=(s8, f32), by="mma.m16n8k32.s8",
           align={"k": 32, "n": 8, "m": 8}, throughput=4096),
        # [PTX] mma.m16n8k64 with s4 operands.
        op(DENSE, s4, s4.per_channel, sums_in=s32, gives=(s8, f32), by="mma.m16n8k64.s4",
           align={"k": 64, "n": 8, "m": 8}, throughput=8192),
        # [PTX] dp4a, sm_61 and later: what is no matrix product.
        op("depthwise_conv2d", s8, s8.per_channel, sums_in=s32, gives=(s8, f32), by="dp4a",
           align={"k": 4, "n": 8, "m": 8}, throughput=512),
        # [PTX] mma.m16n8k16 with bf16 operands.
        op((*DENSE, "batch_matmul"), bf16, bf16, sums_in=f32, gives=(bf16, f32),
           by="mma.m16n8k16.bf16", align={"k": 16, "n": 8, "m": 8}, throughput=2048),
        op(("add", "multiply"), s8, s8, sums_in=s32, gives=(s8, f32), by="dp4a", throughput=64),
        op("avg_pool2d", s8, sums_in=s32, gives=(s8, f32), by="dp4a", throughput=64),
        op("table", s8, sums_in=s32, gives=(s8,), by="dp4a", throughput=32),
        op(MOVES, s8, sums_in=s32, gives=(s8,), by="dp4a", throughput=128),
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="fma.f32", throughput=128),
    ],
)
