"""Whether the compiler's target has the instructions that a specification names."""

from __future__ import annotations

import tvm
from tvm.target.codegen import llvm_cpu_has_features

from hago.errors import SpecError
from hago.hardware.intrinsics import EXTENSIONS
from hago.hardware.spec import HardwareSpec


def check_extensions(spec: HardwareSpec) -> None:
    """Raises SpecError for a row by an instruction that the target of ``spec``, a CPU, lacks: LLVM
    would end the process when it meets one."""
    target = tvm.target.Target(dict(spec.target))
    for row in spec.ops:
        extension = EXTENSIONS.get(row.intrinsic)
        if extension is not None and not llvm_cpu_has_features([extension.llvm], target):
            raise SpecError(
                f"row '{row.op}' by {row.intrinsic}",
                fact=f"the machine's target has no {extension.llvm}: {spec.target}",
                source=str(row.origin),
                way_out=f'Give the target an mcpu with it, or "+{extension.llvm}" in its mattr.',
            )
