"""x86-64 with AVX-512 VNNI and BF16, without AMX: Cooper Lake, Zen 5. (Zen 4: x86_zen4.py.)

Sources: [SDM] Intel 64 and IA-32 Architectures Software Developer's Manual, vol. 2;
[OPT] Intel 64 and IA-32 Architectures Optimization Reference Manual, the chapters on Skylake Server
(whose core Cooper Lake has) and on AVX-512 VNNI. Bandwidth is an estimate of what one core draws,
L3 is the socket's.
"""

from hago.hardware import bf16, f32, machine, memory, op, s8, s32, u8

DENSE = ("conv2d", "matmul")
MOVES = ("max_pool2d", "concat", "resize2d", "move")

MACHINE = machine(
    "x86-bf16",
    description="x86-64 with AVX-512 VNNI and bfloat16 (Cooper Lake, Zen 5)",
    # LLVM makes two instructions of VPDPWSSD where a sum waits for the one before; tiles have sums
    # enough to keep both units busy.
    target={"kind": "llvm", "mcpu": "cooperlake", "mattr": ["+fast-dpwssd"]},
    needs=("avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16"),
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
        # [SDM] VDPBF16PS adds two products of bfloat16 to each float32: exact products, sums to
        # nearest even, denormals as zero. Measured on Emerald Rapids: one in two cycles.
        op((*DENSE, "batch_matmul"), bf16, bf16, sums_in=f32, gives=(bf16, f32), by="vdpbf16ps",
           align={"k": 2, "n": 16}, throughput=32),
        # A bfloat16 is the upper half of a float32 (VPMOVZXWD, VPSLLD): no instruction of its own.
        op(("depthwise_conv2d", "add", "multiply"), bf16, bf16, sums_in=f32, gives=(bf16, f32),
           by="vfmadd", throughput=16),
        op(("avg_pool2d", *MOVES), bf16, sums_in=f32, gives=(bf16, f32), by="vfmadd",
           throughput=16),
        # [OPT] two 512-bit FMA units: 64 float32 operations a cycle.
        op((*DENSE, "depthwise_conv2d", "batch_matmul"), f32, f32, sums_in=f32, gives=(f32,),
           by="vfmadd", throughput=64),
    ],
)
