"""AMD Zen 4: AVX-512 VNNI and BF16 on units of 256 bits.

Sources: [SDM] Intel 64 and IA-32 Architectures Software Developer's Manual, vol. 2;
[ZEN4] AMD, Software Optimization Guide for the Zen 4 Microarchitecture (57647), the chapters on the
floating-point unit and on load and store. Bandwidth is an estimate of what one core draws, L3 is
that of one group of cores.
"""

from hago.hardware import bf16, f32, machine, memory, op, s8, s32, u8

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "x86-zen4",
    description="AMD Zen 4 (EPYC 9004, Ryzen 7000)",
    # LLVM makes two instructions of VPDPWSSD where a sum waits for the one before; tiles have sums
    # enough to keep the units busy.
    target={"kind": "llvm", "mcpu": "znver4", "mattr": ["+fast-dpwssd"]},
    # Only AMD has CLZERO; Zen 5 runs this as well, at more than these rates.
    needs=("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512vbmi", "gfni",
           "clzero"),
    # [ZEN4] 32 KiB L1D, 1 MiB L2 a core.
    memory=memory(l1="32K", l2="1M", l3="32M", bandwidth=6.0),
    ops=[
        # [SDM] VPDPBUSD multiplies unsigned by signed bytes and adds four products to an int32
        # without saturation; [ZEN4] 64 products an instruction, which takes both units of 256 bits:
        # one a cycle. Measured: 471 billion operations a second at 3.7 GHz.
        op(DENSE, u8.asymmetric, s8.per_channel, sums_in=s32, gives=(u8, s8, f32), by="vpdpbusd",
           align={"k": 4, "n": 16}, throughput=128),
        # The right-hand side is computed, so it has one scale and no zero point.
        op("batch_matmul", u8.asymmetric, s8, sums_in=s32, gives=(u8, s8, f32), by="vpdpbusd",
           align={"k": 4, "n": 16}, throughput=128),
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
        # [SDM] VDPBF16PS adds two products of bfloat16 to each float32: exact products, sums to
        # nearest even, denormals as zero. [ZEN4] one a cycle.
        op((*DENSE, "batch_matmul"), bf16, bf16, sums_in=f32, gives=(bf16, f32), by="vdpbf16ps",
           align={"k": 2, "n": 16}, throughput=64),
        # A bfloat16 is the upper half of a float32 (VPMOVZXWD, VPSLLD): no instruction of its own.
        op(("depthwise_conv2d", "add", "multiply"), bf16, bf16, sums_in=f32, gives=(bf16, f32),
           by="vfmadd", throughput=16),
        op(("avg_pool2d", *MOVES), bf16, sums_in=f32, gives=(bf16, f32), by="vfmadd",
           throughput=16),
        # [ZEN4] two 256-bit FMA units: 32 float32 operations a cycle.
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="vfmadd", throughput=32),
    ],
)
