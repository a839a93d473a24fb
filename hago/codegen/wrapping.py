"""Vectors of int32 whose sums and products wrap modulo 2^32.

TVM tells LLVM that int32 does not overflow. An exact result may be reached through sums that do:
these are functions in LLVM's own language, which are inlined before code generation.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from tvm import tirx as tir

from hago.codegen.vector import dtype_of, splat

Expr: TypeAlias = tir.Expr


def add(a: Expr, b: Expr) -> Expr:
    """``a + b``: of int32 modulo 2^32, of other types as TVM has it."""
    return _call("add", a, b) if dtype_of(a)[0] == "int32" else a + b


def subtract(a: Expr, b: Expr) -> Expr:
    """``a - b``, as in :func:`add`."""
    return _call("sub", a, b) if dtype_of(a)[0] == "int32" else a - b


def times(a: Expr, factor: int) -> Expr:
    """``factor * a``, as in :func:`add`; of ``factor`` only the lowest 32 bits matter then."""
    dtype, _ = dtype_of(a)
    if dtype != "int32":
        return a * splat(factor, a, dtype)
    signed = int(np.uint32(factor % 2**32).view(np.int32))
    return _call("mul", a, splat(signed, a, dtype))


def _call(name: str, a: Expr, b: Expr) -> Expr:
    dtype, lanes = dtype_of(a)
    return tir.call_extern(f"{dtype}x{lanes}", f"hago_{name}_x{lanes}", a, b)


def _definition(name: str, lanes: int) -> str:
    kind = f"<{lanes} x i32>"
    return f"""
define linkonce_odr {kind} @hago_{name}_x{lanes}({kind} %a, {kind} %b) alwaysinline nounwind {{
  %c = {name} {kind} %a, %b
  ret {kind} %c
}}
"""


# What kernels that call these functions import.
LLVM = "".join(_definition(name, lanes) for lanes in (8, 16) for name in ("add", "sub", "mul"))
