"""Gaudi 3: fp8 e4m3 products, weights kept as int4 in memory (W4A8).

Sources: [GAUDI] Intel Gaudi 3 AI Accelerator white paper: 8 matrix engines (MME) of 256 x 256
multiply-adds, 1,835 Tflop/s in fp8 and in bfloat16, summed in float32; 64 vector cores (TPC) of 256
bytes; 96 MB of SRAM; 3.7 TB/s. [DPQ] Dual Precision Quantization, arXiv 2505.14638, section 3.
[OCP] OCP 8-bit Floating Point Specification (OFP8), E4M3: largest value 448, no infinities (a
Gaudi 2 ends at 240).
hago runs this machine as an executable model: kernels of this computer compute in float32 what the
machine would, on values that are rounded to e4m3, with weights that are stored as int4.
"""

from hago.hardware import bf16, e4m3, f32, machine, memory, op, s4

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "gaudi-fp8",
    description="Gaudi 3: fp8 e4m3 products, int4 weight storage",
    target={"kind": "llvm"},
    needs=("gaudi",),
    is_model=True,
    # A core is the whole device at 1.75 GHz: a TPC's local memory, the SRAM, 3.7 TB/s.
    memory=memory(l1="80K", l2="96M", bandwidth=2114.0),
    ops=[
        # [GAUDI] The MME multiplies e4m3 by e4m3 into float32: 8 x 256 x 256 multiply-adds a cycle.
        # [DPQ] Weights are kept as int4 in groups and decoded to e4m3 on the way in.
        op(DENSE, e4m3, e4m3.per_channel.stored_as(s4), sums_in=f32, gives=(e4m3, bf16, f32),
           by="mme.e4m3", align={"k": 128, "n": 256, "m": 256}, throughput=2**20),
        op("batch_matmul", e4m3, e4m3, sums_in=f32, gives=(e4m3, bf16, f32), by="mme.e4m3",
           align={"k": 128, "n": 256, "m": 256}, throughput=2**20),
        # What feeds the MME can be moved in fp8 as well.
        op(MOVES, e4m3, sums_in=f32, gives=(e4m3,), by="fma.f32", throughput=2**14),
        # [GAUDI] The same rate in bfloat16 (a Gaudi 2 has half of it).
        op((*DENSE, "batch_matmul"), bf16, bf16, sums_in=f32, gives=(bf16, f32), by="mme.bf16",
           align={"k": 128, "n": 256, "m": 256}, throughput=2**20),
        # [GAUDI] 64 TPCs of 64 float32 lanes compute everything else; bfloat16 is widened.
        op(("depthwise_conv2d", "add", "multiply"), bf16, bf16, sums_in=f32, gives=(bf16, f32),
           by="fma.f32", throughput=2**12),
        op(("avg_pool2d", *MOVES), bf16, sums_in=f32, gives=(bf16, f32), by="fma.f32",
           throughput=2**12),
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="fma.f32", throughput=2**13),
    ],
)
