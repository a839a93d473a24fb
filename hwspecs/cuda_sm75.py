"""NVIDIA Turing, compute capability 7.5: T4, RTX 20.

Sources: [PTX] NVIDIA PTX ISA, 9.7.13 (dp4a) and 9.7.14 (mma);
[TUNE] NVIDIA Turing Tuning Guide, 1.4.
"""

from hago.hardware import f32, machine, memory, op, s4, s8, s32

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "cuda-sm75",
    description="NVIDIA Turing tensor cores (T4)",
    target={"kind": "cuda", "arch": "sm_75"},
    needs=("sm_75",),
    # Of one streaming multiprocessor: shared memory and its share of L2.
    memory=memory(l1="64K", l2="4M", bandwidth=8.0),
    ops=[
        # [PTX] mma.m8n8k16 with s8 operands, sm_75 and later; both operands signed.
        op(DENSE, s8, s8.per_channel, sums_in=s32, gives=(s8, f32), by="mma.m8n8k16.s8",
           align={"k": 16, "n": 8, "m": 8}, throughput=2048),
        op("batch_matmul", s8, s8, sums_in=s32, gives=(s8, f32), by="mma.m8n8k16.s8",
           align={"k": 16, "n": 8, "m": 8}, throughput=2048),
        # [PTX] mma.m8n8k32 with s4 operands.
        op(DENSE, s4, s4.per_channel, sums_in=s32, gives=(s8, f32), by="mma.m8n8k32.s4",
           align={"k": 32, "n": 8, "m": 8}, throughput=4096),
        # [PTX] dp4a, sm_61 and later: what is no matrix product.
        op("depthwise_conv2d", s8, s8.per_channel, sums_in=s32, gives=(s8, f32), by="dp4a",
           align={"k": 4, "n": 8, "m": 8}, throughput=512),
        op(("add", "multiply"), s8, s8, sums_in=s32, gives=(s8, f32), by="dp4a", throughput=64),
        op("avg_pool2d", s8, sums_in=s32, gives=(s8, f32), by="dp4a", throughput=64),
        op("table", s8, sums_in=s32, gives=(s8,), by="dp4a", throughput=32),
        op(MOVES, s8, sums_in=s32, gives=(s8,), by="dp4a", throughput=128),
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="fma.f32", throughput=128),
    ],
)
