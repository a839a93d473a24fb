"""Instructions that a specification names, and the compiler's target."""

import pytest

from hago.errors import SpecError
from hago.hardware import machine, memory, op, s8, s32
from hago.hardware.load import list_specs, load_spec
from hago.hardware.spec import HardwareSpec
from hago.lower.extensions import check_extensions
from hago.lower.select import machine_of

ARM = {"kind": "llvm", "mtriple": "aarch64-linux-gnu"}


def dot_product_chip(target) -> HardwareSpec:
    row = op("matmul", s8, s8.per_channel, sums_in=s32, gives=(s8,), by="sdot")
    return machine(
        "chip", target=target, memory=memory(l1="32K", l2="1M"), ops=[row],
        needs=("asimd", "asimddp"),
    )  # fmt: skip


@pytest.mark.parametrize("target", [{**ARM, "mattr": ["+dotprod"]}, {**ARM, "mcpu": "cortex-a76"}])
def test_a_target_has_what_its_words_or_its_cpu_say(target):
    assert machine_of(dot_product_chip(target)).instructions == {"sdot"}


@pytest.mark.parametrize(
    ("name", "cycles"),
    [("x86-avx2", 0.5), ("x86-amx", 0.5), ("x86-zen4", 1.0), ("arm-neon", 0.5), ("arm-i8mm", 0.25)],
)
def test_products_take_the_cycles_of_float32_by_its_rate(name, cycles):
    assert machine_of(load_spec(name)).cycles == cycles


def test_a_machine_that_gives_no_rate_makes_two_products_a_cycle():
    assert machine_of(dot_product_chip({**ARM, "mattr": ["+dotprod"]})).cycles == 0.5


@pytest.mark.parametrize("target", [ARM, {**ARM, "mcpu": "cortex-a72"}])
def test_an_instruction_that_the_target_lacks_is_refused_with_its_row(target):
    with pytest.raises(SpecError, match="row 'matmul' by sdot") as caught:
        machine_of(dot_product_chip(target))
    assert caught.value.source.startswith(f"{__file__}:")
    assert "no dotprod" in caught.value.fact
    assert '"+dotprod" in its mattr' in caught.value.way_out


@pytest.mark.parametrize("name", [n for n in list_specs() if n.startswith(("x86", "arm"))])
def test_built_in_machines_are_compiled_for_what_they_name(name):
    check_extensions(load_spec(name))
