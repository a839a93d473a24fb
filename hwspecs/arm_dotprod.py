"""Armv8.2-A with the dot-product extension: Cortex-A76 and its relatives.

Sources: [ARM] Arm Architecture Reference Manual for A-profile, C7.2 (SDOT, ZIP, SQRDMULH, SRSHL,
TBL); [SOG] Arm Cortex-A76 Software Optimization Guide, the tables of Advanced SIMD instructions.
Memory sizes are of the Raspberry Pi 5, bandwidth is an estimate of what one core draws.
"""

from hago.hardware import f32, machine, memory, op, s8, s32

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "arm-dotprod",
    description="Arm with SDOT (Cortex-A76, Raspberry Pi 5)",
    target={"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": ["+dotprod"]},
    needs=("asimd", "asimddp"),
    memory=memory(l1="64K", l2="512K", bandwidth=4.0),
    ops=[
        # [ARM] SDOT adds four s8 x s8 products to each of four int32 lanes; two pipes [SOG], so
        # 2 x 16 multiply-adds a cycle. The sum wraps, it does not saturate.
        # Requantization is SQRDMULH and a rounding shift: there is no need for float pipes.
        op(DENSE, s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32), by="sdot",
           requantize="fixed_point", align={"k": 4, "n": 4}, throughput=64),
        op("batch_matmul", s8.asymmetric, s8, sums_in=s32, gives=(s8, f32), by="sdot",
           requantize="fixed_point", align={"k": 4, "n": 4}, throughput=64),
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
        # [SOG] FMLA on two pipes of four lanes. The core has no bfloat16 (FEAT_BF16).
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="fmla", throughput=16),
    ],
)
