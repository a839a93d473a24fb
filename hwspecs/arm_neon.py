"""Armv8-A with Advanced SIMD and no dot products: Cortex-A53, A57 and A72, Raspberry Pi 3 and 4.

Sources: [ARM] Arm Architecture Reference Manual for A-profile, C7.2 (SMULL, SMLAL, SADALP,
SQRDMULH, SRSHL, TBL); [SOG] Arm Cortex-A72 Software Optimization Guide, the tables of ASIMD
instructions. Memory sizes are of the Raspberry Pi 4, bandwidth is an estimate of what one core
draws.
"""

from hago.hardware import f32, machine, memory, op, s8, s32

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "arm-neon",
    description="Arm without dot products (Cortex-A53, A72; Raspberry Pi 3, 4)",
    target={"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": ["+neon"]},
    needs=("asimd",),
    memory=memory(l1="32K", l2="1M", bandwidth=2.0),
    ops=[
        # [ARM] SMULL and SMLAL2 leave two products of bytes in 16 bits, SADALP adds pairs of those
        # to int32: 16 products in three instructions, one a cycle [SOG]. Two products of -128
        # overflow; weights with that code (symmetric ones go from -127 to 127) take SMLAL instead,
        # which is exact.
        op(DENSE, s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32), by="smull",
           requantize="fixed_point", align={"k": 16, "n": 4}, throughput=16),
        # [ARM] SMLAL adds four products of 16-bit numbers to int32. [SOG] one a cycle.
        op("batch_matmul", s8.asymmetric, s8, sums_in=s32, gives=(s8, f32), by="smlal",
           requantize="fixed_point", align={"n": 4}, throughput=8),
        # One channel a lane: loads and the widening to 16 bits are most of it.
        op("depthwise_conv2d", s8.asymmetric, s8.per_channel, sums_in=s32, gives=(s8, f32),
           by="smlal", requantize="fixed_point", throughput=8),
        # Both operands are rescaled to a common scale first (SQRDMULH, four lanes).
        op(("add", "multiply"), s8.asymmetric, s8.asymmetric, sums_in=s32, gives=(s8, f32),
           by="sqrdmulh", requantize="fixed_point", throughput=4),
        op("avg_pool2d", s8.asymmetric, sums_in=s32, gives=(s8, f32), by="sqrdmulh",
           requantize="fixed_point", throughput=4),
        # [ARM] TBL and TBX look 64 bytes up at once: 256 entries take four of them for 16 codes.
        op("table", s8.asymmetric, sums_in=s32, gives=(s8,), by="tbl", requantize="fixed_point",
           throughput=2),
        op(MOVES, s8.asymmetric, sums_in=s32, gives=(s8,), by="tbl", requantize="fixed_point",
           throughput=16),
        # [SOG] FMLA on two pipes of four lanes.
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="fmla", throughput=16),
    ],
)
