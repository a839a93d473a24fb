"""Gaudi-like accelerator: fp8 e4m3 products, weights kept as int4 in memory (W4A8).

Sources: [GAUDI] Intel Gaudi 2 and 3 AI accelerators white papers (MME: fp8 and bf16 products,
float32 accumulation); [DPQ] Dual Precision Quantization, arXiv 2505.14638, section 3;
[OCP] OCP 8-bit Floating Point Specification (OFP8), E4M3: largest value 448, no infinities.
hago runs this machine as an executable model on the host: the target is the host's.
"""

from hago.hardware import bf16, e4m3, f32, machine, memory, op, s4

DENSE = ("conv2d", "matmul")

MACHINE = machine(
    "gaudi-fp8",
    description="Gaudi-like: fp8 e4m3 products, int4 weight storage",
    target={"kind": "llvm"},
    needs=("gaudi",),
    memory=memory(l1="256K", l2="48M", bandwidth=16.0),
    ops=[
        # [GAUDI] The MME multiplies e4m3 by e4m3 into float32. [DPQ] Weights are kept as int4 in
        # groups and decoded to e4m3 on the way in.
        op(DENSE, e4m3, e4m3.per_channel.stored_as(s4), sums_in=f32, gives=(e4m3, bf16, f32),
           by="mme.e4m3", align={"k": 128, "n": 128}, throughput=65536),
        op("batch_matmul", e4m3, e4m3, sums_in=f32, gives=(e4m3, bf16, f32), by="mme.e4m3",
           align={"k": 128, "n": 128}, throughput=65536),
        # What feeds the MME can be moved in fp8 as well.
        op(("move", "concat", "max_pool2d", "resize2d"), e4m3, sums_in=f32, gives=(e4m3,),
           by="mme.e4m3"),
        op((*DENSE, "batch_matmul"), bf16, bf16, sums_in=f32, gives=(bf16, f32), by="mme.bf16",
           align={"k": 128, "n": 128}, throughput=32768),
        # The vector units (TPC) compute everything else in float32.
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="fma.f32", throughput=256),
    ],
)
