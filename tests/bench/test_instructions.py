"""Peers find the instructions of another machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.instructions import HIDDEN, Feature, bits, build, hide

_ASK = """
from numpy._core._multiarray_umath import __cpu_features__ as found
from tests.bench.instructions import is_hiding
print(is_hiding(), found["AVX2"], found["AVX512F"], found["AVX512_ICL"])
"""


def test_bits_are_told_by_register() -> None:
    features = (Feature("f", 0, "ebx", 16), Feature("vl", 0, "ebx", 31), Feature("v", 1, "eax", 4))
    assert bits(features) == "80010000 0 0 10 0 0"


def test_nothing_is_hidden_for_a_machine_that_has_all(tmp_path: Path) -> None:
    assert not hide("x86-amx", tmp_path)
    assert not hide(None, tmp_path)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="CPUID is of x86")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, cc")
def test_a_library_that_asks_the_cpu_finds_an_older_one(tmp_path: Path) -> None:
    library, hidden = build("cc", tmp_path), bits(HIDDEN["x86-avx2"])
    preloaded = {"LD_PRELOAD": str(library), "HAGO_BENCH_HIDDEN": hidden}
    is_hiding, *found = _answers({**os.environ, **preloaded}).split()
    if is_hiding != "True":
        pytest.skip("this system lets no process hide instructions (arch_prctl, ARCH_SET_CPUID)")
    _, has_avx2, *_ = _answers(dict(os.environ)).split()
    assert found == [has_avx2, "False", "False"]


def _answers(environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", _ASK]
    return subprocess.run(
        command, env=environment, cwd=Path(__file__).parents[2], check=True, text=True,
        stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
