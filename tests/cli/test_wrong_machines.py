"""Machines that are not, or contradict themselves: one clear error, exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from hago.hardware.load import spec_folder
from tests.cli.program import Program
from tests.cli.refusals import assert_refused

HEAD = "from hago.hardware import f32, machine, memory, op, s8, s32, u8\n"
BODY = (
    'M = machine("m", description="d", target={"kind": "llvm"}, memory=memory(l1="32K", l2="1M"),\n'
    "  ops=[op('conv2d', u8, s8, sums_in=s32, gives=(f32,), by='vpdpbusd',\n"
    "          throughput=THROUGHPUT)])\n"
)
SPECS = {
    "raises": (f"{HEAD}raise RuntimeError('broken')\n", ("RuntimeError", "broken", "spec.py:2")),
    "exits": (f"{HEAD}import sys\nsys.exit(0)\n", ("SystemExit", "spec.py:3")),
    "syntax": (f"{HEAD}x = = 2\n", ("SyntaxError", "spec.py:2")),
    "unknown word": ("from hago.hardware import u9\n", ("ImportError", "u9", "spec.py:1")),
    "nothing": (HEAD, ("0 machines",)),
    "two": (HEAD + (BODY + BODY.replace("M =", "N =").replace('"m"', '"n"')).replace(
        "THROUGHPUT", "1"), ("2 machines",)),
    "infinite": (HEAD + BODY.replace("THROUGHPUT", "float('inf')"), ("inf", "spec.py:3")),
    "NaN": (HEAD + BODY.replace("THROUGHPUT", "float('nan')"), ("nan", "spec.py:3")),
    "negative": (HEAD + BODY.replace("THROUGHPUT", "-2"), ("-2", "spec.py:3")),
    "binary": ("\0\0\1", ("spec.py",)),
    "unknown operator": (
        HEAD + BODY.replace("THROUGHPUT", "1").replace("conv2d", "conv2"),
        ("conv2", "conv2d", "spec.py:3"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_a_specification_that_is_wrong(
    hago_program: Program, model: Path, tmp_path: Path, name: str
) -> None:
    text, parts = SPECS[name]
    path = tmp_path / "spec.py"
    path.write_text(text)
    assert_refused(hago_program("spec", "check", path), *parts)
    assert_refused(hago_program("inspect", model, "--hw", path), *parts)


@pytest.mark.parametrize(
    "arguments", [("spec", "show"), ("spec", "check"), ("inspect", "m", "--hw")]
)
def test_an_unknown_machine_suggests_the_nearest(
    hago_program: Program, arguments: tuple[str, ...]
) -> None:
    assert_refused(hago_program(*arguments, "x86-vni"), "'x86-vni'", "Did you mean 'x86-vnni'?")


def test_a_machine_without_kernels_can_be_inspected_only(
    hago_program: Program, model: Path, data: Path, tmp_path: Path
) -> None:
    source = spec_folder() / "gaudi_fp8.py"
    own = tmp_path / "own.py"
    own.write_text(source.read_text().replace("is_model=True", "is_model=False"))
    assert hago_program("inspect", model, "--hw", own).code == 0
    arguments = ("--hw", own, "--data", data, "-o", tmp_path / "out")
    assert_refused(hago_program("compile", model, *arguments), "gaudi-fp8", "hago inspect")
