"""The machine code of kernels for Arm: what the hot loops are made of. Needs no Arm, no QEMU."""

import re
from collections import Counter
from dataclasses import replace

import pytest

from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import Conv2d, Matmul
from hago.hardware.load import load_spec
from hago.lower.select import build_kernel, machine_of
from tests.arm.board import assembly
from tests.codegen.recipes import fixed_point_epilogue

CONV = Conv2d(1, 14, 14, 64, 64, 3, 3, padding=(1, 1, 1, 1), data="int8", weight="int8")
DEPTHWISE = Conv2d(1, 14, 14, 64, 64, 3, 3, padding=(1, 1, 1, 1), groups=64, data="int8",
                   weight="int8")  # fmt: skip
PRODUCTS = {
    "arm-dotprod": {"conv2d": "sdot", "matmul": "sdot", "depthwise": "sdot"},
    "arm-i8mm": {"conv2d": "smmla", "matmul": "smmla", "depthwise": "sdot"},
    "arm-neon": {"conv2d": "smlal", "matmul": "smlal", "depthwise": "smlal2"},
}
WORK = {
    "conv2d": CONV, "depthwise": DEPTHWISE,
    "matmul": Matmul(64, 64, 256, data="int8", weight="int8"),
}  # fmt: skip


def code_of(hardware, work, epilogue=None):
    epilogue = epilogue or Epilogue(work.accum, work.accum)
    return assembly(build_kernel(work, epilogue, machine_of(load_spec(hardware))), hardware)


def loops(code):
    """The mnemonics of each innermost loop: from a label to the branch back to it."""
    found, block, label = [], [], ""
    for line in code.splitlines():
        if match := re.match(r"(\.LBB\w+):", line):
            label, block = match[1], []
        elif match := re.match(r"\t([a-z][\w.]*)\s*(.*)", line):
            block.append(match[1])
            if match[1].startswith(("b.", "cbnz", "tbnz")) and match[2].endswith(label):
                found.append(Counter(block))
    return found


def hottest(code, mnemonic):
    return max(loops(code), key=lambda loop: loop[mnemonic])


@pytest.mark.parametrize(
    ("hardware", "kind"), [(h, kind) for h, kinds in PRODUCTS.items() for kind in kinds]
)
def test_hot_loops_are_of_the_machines_products(hardware, kind):
    product = PRODUCTS[hardware][kind]
    loop = hottest(code_of(hardware, WORK[kind]), product)
    # Each product of a depthwise convolution has a weight of its own to load.
    # (SMLAL2 is half of a vector's two.)
    assert loop[product] >= (0.2 if kind == "depthwise" else 0.5) * loop.total(), loop


@pytest.mark.parametrize("hardware", PRODUCTS)
def test_products_take_words_of_a_register_and_nothing_else_is_computed(hardware):
    loop = hottest(code_of(hardware, CONV), PRODUCTS[hardware]["conv2d"])
    assert not {"dup", "mul", "mla", "sshll", "smull", "smov", "umov"} & set(loop), loop


def test_weights_in_pairs_take_three_instructions_for_16_products():
    loop = hottest(code_of("arm-neon", replace(CONV, weight="int8_pairs")), "sadalp")
    assert loop["smull"] == loop["smlal2"] == loop["sadalp"]
    assert loop["sadalp"] >= 0.25 * loop.total(), loop


def test_float_products_take_elements_of_a_register():
    work = Conv2d(1, 14, 14, 64, 64, 3, 3, padding=(1, 1, 1, 1))
    loop = hottest(code_of("arm-dotprod", work), "fmla")
    assert loop["fmla"] >= 0.7 * loop.total(), loop


@pytest.mark.parametrize("hardware", PRODUCTS)
def test_requantization_is_in_fixed_point(hardware):
    code = code_of(hardware, CONV, fixed_point_epilogue(CONV.co))
    mnemonics = Counter(re.findall(r"^\t([a-z]\w*)\s+v", code, re.MULTILINE))
    assert {"sqrdmulh", "srshl", "sqxtn"} <= set(mnemonics)
    # No float, and no lane of 64 bits, on the way from the sums to the codes.
    others = {"scvtf", "fmul", "fmla", "fcvtns", "fcvtzs", "smull", "smull2", "sshr", "cmgt"}
    assert not others & set(mnemonics)


def test_bfloat16_is_multiplied_by_the_matrix_instruction():
    work = Matmul(64, 64, 256, data="bfloat16", weight="bfloat16")
    assert hottest(code_of("arm-i8mm", work), "bfmmla")["bfmmla"] >= 8
