"""The instructions of kernels, as nvcc makes them. Needs nvcc, no GPU."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pytest

from hago.codegen.cuda.device import architecture_of
from hago.codegen.cuda.nvcc import compile_cuda, find_nvcc
from hago.codegen.workload import Kernel
from hago.hardware.load import load_spec
from tests.cuda.gpu import source


def require_nvcc() -> None:
    """The test is skipped where there is no CUDA compiler."""
    if find_nvcc() is None:
        pytest.skip("no nvcc here: pip install 'hago[cuda]' brings one, and needs no GPU")


def ptx(kernels: Sequence[Kernel], hardware: str) -> list[str]:
    """The PTX of each of ``kernels``."""
    require_nvcc()
    architecture = architecture_of(load_spec(hardware))
    text = compile_cuda(source(kernels, hardware), architecture, "ptx").decode()
    parts = re.split(r"\.entry k(\d+)_kernel", text)
    found = dict(zip(map(int, parts[1::2]), parts[2::2], strict=True))
    return [found[number] for number in range(len(kernels))]


def instructions(text: str) -> Counter[str]:
    """How often each instruction is there."""
    return Counter(re.findall(r"^\t(?:@%p\d+ )?([a-z][\w.:]*)", text, re.M))


def loops(text: str) -> list[str]:
    """What lies between a label and a branch back to it."""
    found = []
    for label in re.finditer(r"^(\$L__BB\w+):", text, re.M):
        back = [m.end() for m in re.finditer(rf"bra(?:\.uni)? \t?{re.escape(label[1])};", text)]
        if back and back[-1] > label.end():
            found.append(text[label.end() : back[-1]])
    return found
