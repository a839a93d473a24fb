"""Armv8.6-A with the int8 and bfloat16 matrix extensions: Neoverse V1, N2, V2.

Sources: [ARM] Arm Architecture Reference Manual for A-profile, C7.2 (SMMLA, BFMMLA, SDOT,
ZIP, SQRDMULH, SRSHL, TBL); A2.2: Armv8.6 requires FEAT_I8MM and FEAT_BF16. [SOG] Arm Neoverse V1
Software Optimization Guide, the tables of ASIMD instructions: all of these run on four pipes
there, on two in a Neoverse N2. Bandwidth is an estimate of what one core draws.
"""

from hago.hardware import bf16, f32, machine, memory, op, s8, s32

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "arm-i8mm",
    description="Arm with SMMLA (Neoverse V1, N2, V2; Graviton 3)",
    target={"kind": "llvm", "mtriple": "aarch64-linux-gnu",
            "mattr": ["+dotprod", "+i8mm", "+bf16"]},
    needs=("asimd", "asimddp", "i8mm", "bf16"),
    memory=memory(l1="64K", l2="1M", bandwidth=8.0),
    ops=[
        # [ARM] SMMLA multiplies 2x8 by 8x2 bytes into 2x2 int32 (it wraps); four pipes [SOG].
        # Requantization is SQRDMULH and a rounding shift: there is no need for float pipes.
        op(DENSE, s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32), by="smmla",
           requantize="fixed_point", align={"k": 8, "n": 2, "m": 2}, throughput=256),
        op("batch_matmul", s8.asymmetric, s8, sums_in=s32, gives=(s8, f32), by="smmla",
           requantize="fixed_point", align={"k": 8, "n": 2, "m": 2}, throughput=256),
        # One channel a lane: SDOT adds four rows of the image, interleaved by ZIP1 and ZIP2 [ARM],
        # of which a 3x3 window uses three. Interleaving and loads take as long: an estimate.
        op("depthwise_conv2d", s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32),
           by="sdot", requantize="fixed_point", throughput=24),
        # Both operands are rescaled to a common scale first (SQRDMULH, four lanes).
        op(("add", "multiply"), s8.asymmetric, s8.asymmetric, sums_in=s32, gives=(s8, f32),
           by="sqrdmulh", requantize="fixed_point", throughput=8),
        op("avg_pool2d", s8.asymmetric, sums_in=s32, gives=(s8, f32), by="sqrdmulh",
           requantize="fixed_point", throughput=8),
        # [ARM] TBL and TBX look 64 bytes up at once: 256 entries take four of them for 16 codes.
        op("table", s8.asymmetric, sums_in=s32, gives=(s8,), by="tbl", requantize="fixed_point",
           throughput=4),
        op(MOVES, s8.asymmetric, sums_in=s32, gives=(s8,), by="tbl", requantize="fixed_point",
           throughput=32),
        # [ARM] BFMMLA multiplies 2x4 by 4x2 bfloat16 into 2x2 float32. Without FEAT_EBF16 it rounds
        # sums to odd and takes denormals for zero. Four pipes [SOG].
        op((*DENSE, "batch_matmul"), bf16, bf16, sums_in=f32, gives=(bf16, f32), by="bfmmla",
           align={"k": 4, "n": 2, "m": 2}, throughput=128),
        # A bfloat16 is the upper half of a float32 (SHLL): FMLA multiplies it after that.
        op("depthwise_conv2d", bf16, bf16, sums_in=f32, gives=(bf16, f32), by="fmla",
           throughput=16),
        op(MOVES, bf16, sums_in=f32, gives=(bf16,), by="fmla", throughput=16),
        # [SOG] FMLA on four pipes of four lanes.
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="fmla", throughput=32),
    ],
)
