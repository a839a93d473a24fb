"""NVIDIA Turing, compute capability 7.5: T4, RTX 20.

Sources: [PTX] NVIDIA PTX ISA, "dp4a" and "mma"; [TU] NVIDIA Turing GPU Architecture white paper:
eight tensor cores a multiprocessor, 2,048 int8 and 4,096 int4 operations a cycle together (130 and
260 Top/s on a T4 of 40 multiprocessors at 1.59 GHz), 64 float32 and 64 integer lanes.
"""

from hago.hardware import f32, machine, memory, op, s4, s8, s32

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "cuda-sm75",
    description="NVIDIA Turing tensor cores (T4)",
    target={"kind": "cuda", "arch": "sm_75"},
    needs=("sm_75",),
    # A core is a multiprocessor: its shared memory, the L2 of all, its share of 320 GB/s.
    memory=memory(l1="64K", l2="4M", bandwidth=5.0),
    ops=[
        # [PTX] mma.m8n8k16 with s8 operands, sm_75 and later; both operands signed. What a
        # zero point adds to sums is known beforehand, for weights are constant.
        op(DENSE, s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32), by="mma.m8n8k16.s8",
           align={"k": 16, "n": 8, "m": 8}, throughput=2048),
        op("batch_matmul", s8, s8, sums_in=s32, gives=(s8, f32), by="mma.m8n8k16.s8",
           align={"k": 16, "n": 8, "m": 8}, throughput=2048),
        # [PTX] mma.m8n8k32 with s4 operands.
        op(DENSE, s4, s4.per_channel, sums_in=s32, gives=(s8, f32), by="mma.m8n8k32.s4",
           align={"k": 32, "n": 8, "m": 8}, throughput=4096),
        # [PTX] dp4a, sm_61 and later: what is no matrix product.
        op("depthwise_conv2d", s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32),
           by="dp4a", align={"k": 4}, throughput=512),
        # Everything else in float32 registers; codes are widened on the way in.
        op(("add", "multiply"), s8.asymmetric, s8.asymmetric, sums_in=s32, gives=(s8, f32),
           by="fma.f32", throughput=64),
        op("avg_pool2d", s8.asymmetric, sums_in=s32, gives=(s8, f32), by="fma.f32", throughput=64),
        op("table", s8.asymmetric, sums_in=s32, gives=(s8,), by="fma.f32", throughput=32),
        op(MOVES, s8.asymmetric, sums_in=s32, gives=(s8,), by="fma.f32", throughput=128),
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="fma.f32", throughput=128),
    ],
)
