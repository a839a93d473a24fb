"""NVIDIA Ada, compute capability 8.9: L4, L40S, RTX 40.

Sources: [PTX] NVIDIA PTX ISA, "mma"; [AD] NVIDIA L4 data sheet and Ada GPU Architecture white
paper: 242 Top/s int8 and fp8, 485 int4, 121 bfloat16 and 30 float32 without sparsity, on 58
multiprocessors at 2.04 GHz; 100 KB of shared memory for each. GeForce cards sum fp8 and bfloat16
in float32 at half of that rate. [SASS] nvcc 13.0 makes one QMMA.16832.F32.E4M3.E4M3 of an mma with
e4m3 operands, and one IMMA.16864.S4.S4 with s4. [DPQ] Dual Precision Quantization, arXiv
2505.14638.
"""

from hago.hardware import bf16, e4m3, f32, machine, memory, op, rows_of, s4, s8, s32

DENSE = ("conv2d", "matmul")

MACHINE = machine(
    "cuda-sm89",
    description="NVIDIA Ada tensor cores, 4 and 8 bits and fp8 (L4)",
    target={"kind": "cuda", "arch": "sm_89"},
    needs=("sm_89",),
    # A core is a multiprocessor: its shared memory, the L2 of all, its share of 300 GB/s.
    memory=memory(l1="100K", l2="48M", bandwidth=2.5),
    ops=[
        # [PTX] mma.m16n8k32 with s8 operands; both operands signed. What a
        # zero point adds to sums is known beforehand, for weights are constant.
        op(DENSE, s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32), by="mma.m16n8k32.s8",
           align={"k": 32, "n": 8, "m": 16}, throughput=2048),
        op("batch_matmul", s8, s8, sums_in=s32, gives=(s8, f32), by="mma.m16n8k32.s8",
           align={"k": 32, "n": 8, "m": 16}, throughput=2048),
        # [PTX] mma.m16n8k64 with s4 operands.
        op(DENSE, s4, s4.per_channel, sums_in=s32, gives=(s8, f32), by="mma.m16n8k64.s4",
           align={"k": 64, "n": 8, "m": 16}, throughput=4096),
        # [PTX] mma.m16n8k32 with e4m3 operands, sm_89 and later; [SASS] an instruction of its own.
        # [DPQ] Weights may be stored as s4 in groups, and become e4m3 on the way to shared memory.
        op(DENSE, e4m3, e4m3.per_channel.stored_as(s4), sums_in=f32,
           gives=(e4m3, bf16, f32), by="mma.m16n8k32.e4m3", align={"k": 32, "n": 8, "m": 16},
           throughput=2048),
        op("batch_matmul", e4m3, e4m3, sums_in=f32, gives=(e4m3, bf16, f32),
           by="mma.m16n8k32.e4m3", align={"k": 32, "n": 8, "m": 16}, throughput=2048),
        # [PTX] mma.m16n8k16 with bf16 operands.
        op((*DENSE, "batch_matmul"), bf16, bf16, sums_in=f32, gives=(bf16, f32),
           by="mma.m16n8k16.bf16", align={"k": 16, "n": 8, "m": 16}, throughput=1024),
        # What is no matrix product: as on Turing, Ampere and Hopper.
        rows_of("cuda-sm90", e4m3, by="fma.f32"),
        rows_of("cuda-sm75", s8, by=("dp4a", "fma.f32")),
        rows_of("cuda-sm80", bf16, by="fma.f32"),
        rows_of("cuda-sm90", f32, by="fma.f32"),
    ],
)
