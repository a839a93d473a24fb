"""Epilogues as CUDA C++: a struct that computes a few neighbouring results of a kernel.

    struct Epilogue {
      const float* p0; ..; int8_t* out;
      template <int N> void operator()(const int (&sums)[N], int row, int channel) const;
    };

The same object as for CPUs (hago/codegen/epilogue.py); this is its third meaning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from hago.codegen.cuda.operations import C_TYPES, OPERATIONS
from hago.codegen.epilogue import Epilogue, Operand


def epilogue_text(epilogue: Epilogue, shape: Sequence[int]) -> str:
    """The struct for a kernel whose output has ``shape``, rows of the last axis.

    N neighbouring channels are loaded and stored as words: the last axis is a multiple of N.
    """
    operands = epilogue.operands
    pointers = [f"  const {C_TYPES[o.dtype]}* p{i};" for i, o in enumerate(operands)]
    loads = [line for i, o in enumerate(operands) for line in _load(i, o, shape)]
    elements = [f"a{i}" if _is_number(o, shape) else f"a{i}[i]" for i, o in enumerate(operands)]
    result = C_TYPES[epilogue.dtype]
    lines = [
        "struct Epilogue {",
        *pointers,
        f"  {result}* out;",
        "  template <int N> __device__ __forceinline__ void operator()(",
        f"      const {C_TYPES[epilogue.accumulator]} (&sums)[N], int row, int channel) const {{",
        *loads,
        f"    {result} results[N];",
        "#pragma unroll",
        "    for (int i = 0; i < N; ++i) {",
        *_values(epilogue, elements),
        "    }",
        f"    hago::store<N>(out + int64_t(row) * {shape[-1]} + channel, results);",
        "  }",
        "};",
    ]
    return "\n".join(lines)


def _load(number: int, operand: Operand, output: Sequence[int]) -> list[str]:
    """The declaration of what an operand has for the channels at hand."""
    shape = (1,) * (len(output) - len(operand.shape)) + tuple(operand.shape)
    row, c_type = _row(shape, output), C_TYPES[operand.dtype]
    if _is_number(operand, output):
        return [f"    const {c_type} a{number} = p{number}[{row}];"]
    start = "channel" if row == "0" else f"int64_t({row}) * {shape[-1]} + channel"
    return [f"    {c_type} a{number}[N];", f"    hago::load<N>(a{number}, p{number} + {start});"]


def _is_number(operand: Operand, output: Sequence[int]) -> bool:
    """Whether all channels of a row read the same element."""
    return output[-1] != 1 and (not operand.shape or operand.shape[-1] == 1)


def _row(shape: Sequence[int], output: Sequence[int]) -> str:
    """The row of a tensor of ``shape`` that output row ``row`` reads."""
    if tuple(shape[:-1]) == tuple(output[:-1]):
        return "row"
    terms = []
    for axis in range(len(output) - 1):
        if shape[axis] == 1:
            continue
        below, pitch = math.prod(output[axis + 1 : -1]), math.prod(shape[axis + 1 : -1])
        terms.append(f"row / {below} % {output[axis]} * {pitch}")
    return " + ".join(terms) or "0"


def _values(epilogue: Epilogue, elements: Sequence[str]) -> list[str]:
    """One element's values, by number, and the result; ``elements`` are those of operands."""
    lines = [f"      const {C_TYPES[epilogue.accumulator]} v0 = sums[i];"]
    for number, (operand, element) in enumerate(zip(epilogue.operands, elements, strict=True)):
        c_type = C_TYPES[operand.dtype]
        lines.append(f"      const {c_type} v{number + 1} = {element};")
    known = 1 + len(epilogue.operands)
    for number, step in enumerate(epilogue.steps):
        c_type, text = OPERATIONS[step.op]
        value = text([f"v{arg}" for arg in step.args], step.consts)
        lines.append(f"      const {c_type} v{known + number} = {value};")
    last = known + len(epilogue.steps) - 1 if epilogue.steps else 0
    return [*lines, f"      results[i] = v{last};"]
