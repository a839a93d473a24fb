# %% [markdown]
# # A new machine, from its datasheet to a running artifact
#
# hago does not know AMD's Zen 5. Its optimization guide says what we need: AVX-512 with VNNI on
# 512-bit data paths, so that two VPDPBUSD leave in every cycle where `hwspecs/x86_zen4.py` has
# one, and 48 KiB of L1 data cache. All of that goes into one file.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import hago
from hago.demo import digits_calibration, digits_model
from hago.hardware.host import missing_features

scratch = Path(tempfile.mkdtemp())
spec_file = scratch / "zen5.py"
spec_file.write_text(
    '''"""AMD Zen 5: EPYC 9005, Ryzen 9000.

Sources: Software Optimization Guide for the AMD Zen5 Microarchitecture, 58455.
"""

from hago.hardware import f32, machine, memory, op, s8, s32, u8

DENSE = ("conv2d", "matmul")

MACHINE = machine(
    "zen5",
    description="AMD Zen 5",
    target={"kind": "llvm", "mcpu": "znver5"},
    needs=("avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    # 48 KiB of L1 data cache, 1 MiB of L2 a core.
    memory=memory(l1="48K", l2="1M"),
    ops=[
        # Two units of 512 bits multiply: 64 products each.
        op(DENSE, u8.asymmetric, s8.per_channel, sums_in=s32, gives=(u8, s8, f32), by="vpdpbusd",
           align={"k": 4, "n": 16}, throughput=256),
        op("depthwise_conv2d", u8.asymmetric, s8.per_channel, sums_in=s32, gives=(u8, s8, f32),
           by="vpmaddwd", throughput=16),
        op("add", u8.asymmetric, u8.asymmetric, sums_in=s32, gives=(u8, s8, f32), by="vfmadd"),
        op("avg_pool2d", u8.asymmetric, sums_in=s32, gives=(u8, s8, f32), by="vfmadd"),
        op("move", u8.asymmetric, sums_in=s32, gives=(u8,), by="vfmadd"),
        op((*DENSE, "depthwise_conv2d"), f32, f32, sums_in=f32, gives=(f32,), by="vfmadd",
           throughput=64),
    ],
)
'''
)

# %% [markdown]
# ## Check the file
#
# A mistake is answered with its file and line, and with what was probably meant.

# %%
hago_program = [sys.executable, "-m", "hago"]
subprocess.run([*hago_program, "spec", "check", str(spec_file)], check=True)

typo = scratch / "typo.py"
typo.write_text(spec_file.read_text().replace('by="vpdpbusd"', 'by="vpdbusd"'))
refused = subprocess.run(
    [*hago_program, "spec", "check", str(typo)], capture_output=True, text=True, check=False
)
print(refused.stderr)
assert refused.returncode == 2
assert "Did you mean 'vpdpbusd'?" in refused.stderr

# %% [markdown]
# ## What would a model become on it?
#
# The file decides: it has no row for `multiply`, so products of two activations would stay float,
# and `hago inspect` would say that this row is missing.

# %%
report = hago.inspect_model(digits_model(), str(spec_file))
rows = {edge.source for edge in report.edges if not edge.is_float}
print(f"{sum(not edge.is_float for edge in report.edges)} quantized edges, by the rows")
print("\n".join(sorted(rows)))

# %% [markdown]
# ## Build and run
#
# The same command as for any built-in machine. If this computer has the features that the file
# needs, the artifact runs here; an artifact is never loaded on a CPU that lacks them.

# %%
folder = scratch / "artifact"
result = hago.compile_model(digits_model(), str(spec_file), digits_calibration(), folder)
print(result.hardware, result.precision, result.compiled)
assert result.accuracy["sqnr_db"] > 20

spec = hago.load_spec(str(spec_file))
if missing_features(spec):
    print(f"not run here: this CPU lacks {', '.join(missing_features(spec))}")
else:
    scores = hago.load(folder).run(digits_calibration()[0])["scores"]
    print(scores.round(1))
