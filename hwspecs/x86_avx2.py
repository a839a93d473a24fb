"""x86-64 with AVX2: Haswell to Skylake clients, Zen 1 to 3. Eight-bit products need care here.

Sources: [SDM] Intel 64 and IA-32 Architectures Software Developer's Manual, vol. 2;
[FOG] A. Fog, Instruction tables (Skylake). Bandwidth is an estimate of what one core draws.
"""

from hago.hardware import f32, machine, memory, op, s8, s16, s32, saturating, u8

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "x86-avx2",
    description="x86-64 with AVX2 (Haswell and later, Zen)",
    target={"kind": "llvm", "mcpu": "haswell"},
    needs=("avx2", "fma"),
    memory=memory(l1="32K", l2="256K", l3="8M", bandwidth=4.0),
    ops=[
        # [SDM] VPMADDUBSW adds pairs of u8 x s8 products with *saturation* in int16. Products of
        # two weights with 255 reach 32640 and fit 32767 where these are 128 together, not where
        # each of them is: so weights are paired here. 32 products an instruction, then VPMADDWD and
        # VPADDD: the two multiplications share two ports, so that one sequence leaves in a cycle
        # [FOG].
        op(DENSE, u8.asymmetric, s8.paired.per_channel, sums_in=saturating(s16, terms=2),
           gives=(u8, s8, f32), by="vpmaddubsw", align={"k": 4, "n": 8}, throughput=64),
        # [SDM] VPMADDWD on widened bytes is exact for 8-bit weights: 16 products an instruction, a
        # VPADDD behind it, and three ports for the two [FOG].
        op(DENSE, u8.asymmetric, s8.per_channel, sums_in=s32, gives=(u8, s8, f32), by="vpmaddwd",
           align={"k": 2, "n": 8}, throughput=48),
        op("batch_matmul", u8.asymmetric, s8, sums_in=s32, gives=(u8, s8, f32), by="vpmaddwd",
           align={"k": 2, "n": 8}, throughput=48),
        # One channel a lane. Loads and conversions bound it, and what follows: estimates.
        op("depthwise_conv2d", u8.asymmetric, s8.per_channel, sums_in=s32, gives=(u8, s8, f32),
           by="vpmaddwd", throughput=8),
        op("add", u8.asymmetric, u8.asymmetric, sums_in=s32, gives=(u8, s8, f32), by="vfmadd",
           throughput=8),
        op("multiply", u8.asymmetric, u8.asymmetric, sums_in=s32, gives=(u8, s8, f32),
           by="vfmadd", throughput=8),
        op("avg_pool2d", u8.asymmetric, sums_in=s32, gives=(u8, s8, f32), by="vfmadd",
           throughput=8),
        op("table", u8.asymmetric, sums_in=s32, gives=(u8, s8), by="vfmadd", throughput=1),
        op(MOVES, u8.asymmetric, sums_in=s32, gives=(u8,), by="vfmadd", throughput=32),
        # [FOG] two 256-bit FMA units: 32 float32 operations a cycle.
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="vfmadd", throughput=32),
    ],
)
