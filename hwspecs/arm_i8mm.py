"""Armv8.6-A with the int8 matrix extension: Neoverse V1, N2, V2.

Sources: [ARM] Arm Architecture Reference Manual for A-profile, C7.2 (SDOT, SMMLA, SQRDMULH, SRSHL);
[SOG] Arm Neoverse V1 Software Optimization Guide, 3.16.
"""

from hago.hardware import f32, machine, memory, op, s8, s32

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "arm-i8mm",
    description="Arm with SMMLA (Neoverse V1, N2, V2; Graviton 3)",
    target={"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": ["+dotprod", "+i8mm"]},
    needs=("asimddp", "i8mm"),
    memory=memory(l1="64K", l2="1M", bandwidth=8.0),
    ops=[
        # [ARM] SMMLA multiplies 2x8 by 8x2 bytes into 2x2 int32; four pipes [SOG].
        # Requantization is SQRDMULH and a rounding shift: there is no need for float pipes.
        op(DENSE, s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32), by="smmla",
           requantize="fixed_point", align={"k": 8, "n": 2, "m": 2}, throughput=256),
        op("batch_matmul", s8.asymmetric, s8, sums_in=s32, gives=(s8, f32), by="smmla",
           requantize="fixed_point", align={"k": 8, "n": 2, "m": 2}, throughput=256),
        # One channel a lane, widened (SMULL, SADALP).
        op("depthwise_conv2d", s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32),
           by="sdot", requantize="fixed_point", throughput=16),
        op(("add", "multiply"), s8.asymmetric, s8.asymmetric, sums_in=s32, gives=(s8, f32),
           by="sdot", requantize="fixed_point", throughput=8),
        op("avg_pool2d", s8.asymmetric, sums_in=s32, gives=(s8, f32), by="sdot",
           requantize="fixed_point", throughput=8),
        # [ARM] TBL looks 64 bytes up at once.
        op("table", s8.asymmetric, sums_in=s32, gives=(s8,), by="sdot", requantize="fixed_point",
           throughput=4),
        op(MOVES, s8.asymmetric, sums_in=s32, gives=(s8,), by="sdot", requantize="fixed_point",
           throughput=32),
        # [SOG] two 128-bit FMLA pipes.
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="fmla", throughput=16),
    ],
)
