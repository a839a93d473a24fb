"""Elementwise operations as CUDA C++: each row of ``hago.codegen.operations`` for one element.

A row is the C type of the result and an expression of its arguments, ``{0}``, ``{1}``, ..;
constants follow them. Arm's instructions (sqrdmulh, ..) have no row: no GPU's rows name them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

# C types of what lies in memory; bfloat16 as its bits.
C_TYPES = {
    "float32": "float", "int32": "int", "int64": "int64_t", "uint8": "uint8_t", "int8": "int8_t",
    "bfloat16": "uint16_t", "float8_e4m3fn": "hago::Float8",
}  # fmt: skip

Text = Callable[[Sequence[str], Sequence[float]], str]


def number(value: float) -> str:
    """``value`` as a float literal of exactly the nearest float32."""
    single = np.float32(value)
    if np.isinf(single):
        return "INFINITY" if single > 0 else "(-INFINITY)"
    return f"{float(single).hex()}f"


def _quantize(args: Sequence[str], consts: Sequence[float]) -> str:
    scale, zero_point, low, high = consts
    codes = f"rintf({args[0]} * {_reciprocal(scale)}) + {number(zero_point)}"
    return f"fmaxf(fminf({codes}, {number(high)}), {number(low)})"


def _quantize_narrow(args: Sequence[str], consts: Sequence[float]) -> str:
    """Bounds come before the rounding: they are integers, so that it keeps them."""
    scale, zero_point, low, high = consts
    value = f"fminf({args[0]} * {_reciprocal(scale)}, {number(high - zero_point)})"
    value = f"__float2int_rn(fmaxf({value}, {number(low - zero_point)}))"
    return f"{value} + {int(zero_point)}" if zero_point else value


def _reciprocal(scale: float) -> str:
    return number(float(np.float32(1.0) / np.float32(scale)))


def _clip(args: Sequence[str], consts: Sequence[float]) -> str:
    low, high = consts
    return f"fmaxf(fminf({args[0]}, {number(high)}), {number(low)})"


def _clip_integer(c_type: str) -> Text:
    def text(args: Sequence[str], consts: Sequence[float]) -> str:
        low, high = (f"{c_type}({int(bound)})" for bound in consts)
        return f"max(min({args[0]}, {high}), {low})"

    return text


def _saturate(args: Sequence[str], consts: Sequence[float]) -> str:
    zero_point, low, high = (int(value) for value in consts)
    return f"max(min({args[0]} + {zero_point}, {high}), {low})"


def _plain(form: str) -> Text:
    return lambda args, consts: form.format(*args, *map(number, consts))


_ERF_SCALE = number(0.5**0.5)
_TANH_SCALE, _CUBE_SCALE = number((2 / math.pi) ** 0.5), number(0.044715)
_TANH_INNER = f"{_TANH_SCALE} * ({{0}} + {_CUBE_SCALE} * {{0}} * {{0}} * {{0}})"
_FAKE = "(fmaxf(fminf(rintf({0} / {1}) + {2}, {4}), {3}) - {2}) * {1}"

# The C type of the result, and its text.
OPERATIONS: dict[str, tuple[str, Text]] = {
    "float": ("float", _plain("float({0})")),
    "int32": ("int", _plain("int({0})")),
    "uint8": ("uint8_t", _plain("uint8_t(int({0}))")),
    "int8": ("int8_t", _plain("int8_t(int({0}))")),
    "bfloat16": ("uint16_t", _plain("hago::to_bfloat16({0})")),
    "from_bfloat16": ("float", _plain("hago::from_bfloat16({0})")),
    "add_int32": ("int", _plain("{0} + {1}")),
    "subtract_int32": ("int", _plain("{0} - {1}")),
    "multiply_int32": ("int", _plain("{0} * {1}")),
    "add": ("float", _plain("{0} + {1}")),
    "subtract": ("float", _plain("{0} - {1}")),
    "multiply": ("float", _plain("{0} * {1}")),
    "divide": ("float", _plain("{0} / {1}")),
    "maximum": ("float", _plain("fmaxf({0}, {1})")),
    "minimum": ("float", _plain("fminf({0}, {1})")),
    "add_const": ("float", _plain("{0} + {1}")),
    "multiply_const": ("float", _plain("{0} * {1}")),
    "divide_const": ("float", _plain("{0} / {1}")),
    "negative": ("float", _plain("-{0}")),
    "relu": ("float", _plain("fmaxf({0}, 0.0f)")),
    "clip": ("float", _clip),
    "round": ("float", _plain("rintf({0})")),
    "exp": ("float", _plain("expf({0})")),
    "sqrt": ("float", _plain("sqrtf({0})")),
    "sigmoid": ("float", _plain("1.0f / (1.0f + expf(-{0}))")),
    "tanh": ("float", _plain("tanhf({0})")),
    "erf": ("float", _plain("erff({0})")),
    "gelu": ("float", _plain(f"0.5f * {{0}} * (1.0f + erff({{0}} * {_ERF_SCALE}))")),
    "gelu_tanh": ("float", _plain(f"0.5f * {{0}} * (1.0f + tanhf({_TANH_INNER}))")),
    "silu": ("float", _plain("{0} / (1.0f + expf(-{0}))")),
    "quantize": ("float", _quantize),
    "quantize_uint8": ("uint8_t", _quantize_narrow),
    "quantize_int8": ("int8_t", _quantize_narrow),
    # Values of 8-bit floats, as float32: bits of the mantissa, the smallest exponent.
    "float8_e4m3fn": ("float", _plain("hago::round_float8<3, -6>({0})")),
    "float8_e5m2": ("float", _plain("hago::round_float8<2, -14>({0})")),
    "encode_float8_e4m3fn": ("hago::Float8", _plain("hago::to_float8({0})")),
    "decode_float8_e4m3fn": ("float", _plain("hago::from_float8({0})")),
    "fake_quantize": ("float", _plain(_FAKE)),
    "int64": ("int64_t", _plain("int64_t({0})")),
    "add_int64": ("int64_t", _plain("{0} + {1}")),
    "subtract_int64": ("int64_t", _plain("{0} - {1}")),
    "multiply_int64": ("int64_t", _plain("{0} * {1}")),
    "shift_right_int64": ("int64_t", _plain("{0} >> {1}")),
    "clip_int64": ("int64_t", _clip_integer("int64_t")),
    "clip_int32": ("int", _clip_integer("int")),
    "saturate_int8": ("int8_t", _saturate),
    "saturate_uint8": ("uint8_t", _saturate),
}
