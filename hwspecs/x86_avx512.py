"""x86-64 with AVX-512 but without VNNI: Skylake-SP.

Sources: [SDM] Intel 64 and IA-32 Architectures Software Developer's Manual, vol. 2;
[OPT] Intel 64 and IA-32 Architectures Optimization Reference Manual, the chapter on Skylake Server.
Bandwidth is an estimate of what one core draws, L3 is the socket's.
"""

from hago.hardware import f32, machine, memory, op, s8, s16, s32, saturating, u8

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "x86-avx512",
    description="x86-64 with AVX-512, without VNNI (Skylake-SP)",
    target={"kind": "llvm", "mcpu": "skylake-avx512"},
    needs=("avx512f", "avx512bw", "avx512vl"),
    # [OPT] 32 KiB L1D, 1 MiB L2 a core.
    memory=memory(l1="32K", l2="1M", l3="32M", bandwidth=4.0),
    ops=[
        # [SDM] VPMADDWD multiplies signed words and adds pairs exactly in int32. Bytes are widened
        # first, so that nothing saturates; 32 products an instruction, and its VPADDD takes as many
        # of the two 512-bit ports [OPT].
        op(DENSE, u8.asymmetric, s8.per_channel, sums_in=s32, gives=(u8, s8, f32), by="vpmaddwd",
           align={"k": 2, "n": 16}, throughput=64),
        # [SDM] VPMADDUBSW saturates pairs in int16: exact for paired weights only, see x86_avx2.py.
        # 64 products, with VPMADDWD and VPADDD behind it: three on two ports.
        op(DENSE, u8.asymmetric, s8.paired.per_channel, sums_in=saturating(s16, terms=2),
           gives=(u8, s8, f32), by="vpmaddubsw", align={"k": 4, "n": 16}, throughput=85),
        # The right-hand side is computed, so it has one scale and no zero point.
        op("batch_matmul", u8.asymmetric, s8, sums_in=s32, gives=(u8, s8, f32), by="vpmaddwd",
           align={"k": 2, "n": 16}, throughput=64),
        # One channel a lane. Loads and conversions bound it, and what follows: estimates.
        op("depthwise_conv2d", u8.asymmetric, s8.per_channel, sums_in=s32, gives=(u8, s8, f32),
           by="vpmaddwd", throughput=16),
        op("add", u8.asymmetric, u8.asymmetric, sums_in=s32, gives=(u8, s8, f32), by="vfmadd",
           throughput=16),
        op("multiply", u8.asymmetric, u8.asymmetric, sums_in=s32, gives=(u8, s8, f32),
           by="vfmadd", throughput=16),
        op("avg_pool2d", u8.asymmetric, sums_in=s32, gives=(u8, s8, f32), by="vfmadd",
           throughput=16),
        op("table", u8.asymmetric, sums_in=s32, gives=(u8, s8), by="vfmadd", throughput=1),
        op(MOVES, u8.asymmetric, sums_in=s32, gives=(u8,), by="vfmadd", throughput=64),
        # [OPT] two 512-bit FMA units: 64 float32 operations a cycle.
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="vfmadd", throughput=64),
    ],
)
