"""x86-64 with AVX-512 VNNI: Cascade Lake, Ice Lake and later Xeons without AMX.

Sources: [SDM] Intel 64 and IA-32 Architectures Software Developer's Manual, vol. 2;
[OPT] Intel 64 and IA-32 Architectures Optimization Reference Manual, the chapters on Skylake Server
(whose core Cascade Lake has) and on AVX-512 VNNI. Bandwidth is an estimate of what one core draws,
L3 is the socket's.
"""

from hago.hardware import f32, machine, memory, op, s8, s32, u8

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "x86-vnni",
    description="x86-64 with AVX-512 VNNI (Cascade Lake and later)",
    # LLVM makes two instructions of VPDPWSSD where a sum waits for the one before; tiles have sums
    # enough to keep both units busy.
    target={"kind": "llvm", "mcpu": "cascadelake", "mattr": ["+fast-dpwssd"]},
    needs=("avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    # [OPT] 32 KiB L1D, 1 MiB L2 a core.
    memory=memory(l1="32K", l2="1M", l3="32M", bandwidth=4.0),
    ops=[
        # [SDM] VPDPBUSD multiplies unsigned by signed bytes and adds four products to an int32
        # without saturation; 64 products an instruction, two instructions a cycle [OPT].
        op(DENSE, u8.asymmetric, s8.per_channel, sums_in=s32, gives=(u8, s8, f32), by="vpdpbusd",
           align={"k": 4, "n": 16}, throughput=256),
        # The right-hand side is computed, so it has one scale and no zero point.
        op("batch_matmul", u8.asymmetric, s8, sums_in=s32, gives=(u8, s8, f32), by="vpdpbusd",
           align={"k": 4, "n": 16}, throughput=256),
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
