"""NVIDIA Hopper, compute capability 9.0: H100, H200.

Sources: [PTX] NVIDIA PTX ISA, "dp4a" and "mma"; [GH] NVIDIA H100 Tensor Core GPU Architecture white
paper (SXM): 1,979 Top/s int8 and fp8, 989 bfloat16 and 67 float32 without sparsity, on 132
multiprocessors; 228 KB of shared memory for each. The tensor cores reach these with wgmma only:
mma gets about two thirds of them (Luo et al., arXiv 2402.13499), and fp8 no more than float16 gets:
[SASS] nvcc 13.0 makes two HMMA.16816.F32 of an mma with e4m3 operands, widened by
F2FP.F16.E4M3.UNPACK_B (sm_89 has QMMA.16832 for it). What 8 bits save is memory, and reading it. An
mma with s4 operands becomes a call of code that widens them for IMMA.16832.S8.S8: there is no row.
[DPQ] Dual Precision Quantization, arXiv 2505.14638.
"""

from hago.hardware import bf16, e4m3, f32, machine, memory, op, rows_of, s4, s8, s32

DENSE = ("conv2d", "matmul")

MACHINE = machine(
    "cuda-sm90",
    description="NVIDIA Hopper tensor cores, int8 and fp8 (H100)",
    target={"kind": "cuda", "arch": "sm_90"},
    needs=("sm_90",),
    # A core is a multiprocessor: its shared memory, the L2 of all, its share of 3.35 TB/s.
    memory=memory(l1="228K", l2="50M", bandwidth=13.0),
    ops=[
        # [PTX] mma.m16n8k32 with s8 operands; both operands signed. What a
        # zero point adds to sums is known beforehand, for weights are constant.
        op(DENSE, s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32), by="mma.m16n8k32.s8",
           align={"k": 32, "n": 8, "m": 16}, throughput=8192),
        op("batch_matmul", s8, s8, sums_in=s32, gives=(s8, f32), by="mma.m16n8k32.s8",
           align={"k": 32, "n": 8, "m": 16}, throughput=8192),
        # [PTX] mma.m16n8k32 with e4m3 operands, sm_89 and later; [SASS] at float16's rate here.
        # [DPQ] Weights may be stored as s4 in groups, and become e4m3 on the way to shared memory.
        op(DENSE, e4m3, e4m3.per_channel.stored_as(s4), sums_in=f32,
           gives=(e4m3, bf16, f32), by="mma.m16n8k32.e4m3", align={"k": 32, "n": 8, "m": 16},
           throughput=4096),
        op("batch_matmul", e4m3, e4m3, sums_in=f32, gives=(e4m3, bf16, f32),
           by="mma.m16n8k32.e4m3", align={"k": 32, "n": 8, "m": 16}, throughput=4096),
        # [PTX] mma.m16n8k16 with bf16 operands.
        op((*DENSE, "batch_matmul"), bf16, bf16, sums_in=f32, gives=(bf16, f32),
           by="mma.m16n8k16.bf16", align={"k": 16, "n": 8, "m": 16}, throughput=4096),
        # What is no matrix product: as on Turing and Ampere, and e4m3 is moved, too.
        op(("max_pool2d", "concat", "resize2d", "move"), e4m3, sums_in=f32, gives=(e4m3,),
           by="fma.f32", throughput=128),
        rows_of("cuda-sm75", s8, by=("dp4a", "fma.f32")),
        rows_of("cuda-sm80", bf16, by="fma.f32"),
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="fma.f32", throughput=256),
    ],
)
