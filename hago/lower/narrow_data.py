"""Products of codes of 4 bits, where a GPU multiplies these: proven of what the operands hold.

    conv2d(quantize(clip(x, a, b), s, z), w)    codes of a and b, and all of w, are -8 to 7

Such codes are bytes in memory, also where kernels multiply them as nibbles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hago.annotate.operators import passes_codes
from hago.codegen.workload import Conv2d, Matmul, Workload
from hago.dataflow import Node
from hago.lower.group import Group
from hago.lower.view import View

_LOWEST, _HIGHEST = -8, 7
Range = tuple[float, float]


def with_narrow_data(group: Group, view: View, supports: Callable[[Workload], bool]) -> Group:
    """``group`` as a product of 4 bits, if its operands have no more and it is supported so."""
    work, weight = group.workload, group.weight
    if not isinstance(work, Matmul | Conv2d) or (isinstance(work, Conv2d) and work.is_depthwise):
        return group
    if work.data != "int8" or not isinstance(weight, np.ndarray):
        return group
    narrow: Matmul | Conv2d = replace(work, data="int4", weight="int4")
    pad = getattr(work, "pad_code", 0)
    if not supports(narrow) or not _fits((weight.min(), weight.max())) or not _fits((pad, pad)):
        return group
    (data,) = group.data
    assert isinstance(data, str), group.anchor
    return replace(group, workload=narrow) if _fits(code_range(view, data)) else group


def _fits(codes: Range) -> bool:
    return codes[0] >= _LOWEST and codes[1] <= _HIGHEST


def code_range(view: View, name: str) -> Range:
    """The lowest and the highest code that the int8 tensor ``name`` can hold."""
    node = view.node(name)
    if node is not None and node.op == "quantize":
        return _rounded(view, node)
    if node is None or not passes_codes(node) or node.op == "nn.pad":  # with any code
        bounds = np.iinfo(np.int8)
        return bounds.min, bounds.max
    ranges = [code_range(view, source) for source in node.inputs]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _rounded(view: View, node: Node) -> Range:
    """The codes of the bounds of a clip in front of the quantize ``node``."""
    bounds = np.iinfo(np.int8)
    clip = view.node(node.inputs[0])
    if clip is None or clip.op != "clip" or any(n.size != 1 for n in node.constants.values()):
        return bounds.min, bounds.max
    scale, zero_point = (node.constants[arg].reshape(()) for arg in (1, 2))
    real = [np.float32(getattr(a.value, "value", a.value)) for a in clip.call.args[1:3]]
    low, high = (float(np.rint(each / scale)) + int(zero_point) for each in real)
    return max(low, bounds.min), min(high, bounds.max)
