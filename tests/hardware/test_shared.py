"""Rows that a machine has from another machine's specification."""

import pytest

from hago.errors import SpecError
from hago.hardware import bf16, f32, load, rows_of, s8
from hago.hardware.load import load_spec

RECURSIVE = """
from hago.hardware import f32, machine, memory, rows_of

MACHINE = machine(
    "first-chip", target={"kind": "llvm"}, memory=memory(l1="32K", l2="1M"),
    ops=[rows_of("first-chip", f32, by="fma.f32")],
)
"""


def test_they_are_the_rows_of_the_other_file():
    rows = rows_of("cuda-sm75", s8, by="dp4a")
    assert [(row.op, row.intrinsic) for row in rows] == [("depthwise_conv2d", "dp4a")]
    assert rows[0].origin.file.endswith("cuda_sm75.py")
    assert rows[0] in load_spec("cuda-sm80").ops


def test_several_instructions_may_be_named():
    both = rows_of("cuda-sm75", s8, by=("dp4a", "fma.f32"))
    assert both == (
        *rows_of("cuda-sm75", s8, by="dp4a"), *rows_of("cuda-sm75", s8, by="fma.f32"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "fact"),
    [
        (lambda: rows_of("cuda-sm76", s8, by="dp4a"), "no such machine"),
        (lambda: rows_of("cuda-sm75", "s8", by="dp4a"), "of type str"),
        (lambda: rows_of("cuda-sm75", s8, by=7), "not a list"),
        (lambda: rows_of("cuda-sm75", s8, by="dp5a"), "no such instruction"),
        (lambda: rows_of("cuda-sm75", bf16, by="fma.f32"), "no row of cuda-sm75 reads bfloat16"),
        (lambda: rows_of("cuda-sm75", f32, by=("dp4a", "smmla")), "by dp4a or smmla"),
    ],
)
def test_what_is_not_there_is_refused_with_file_and_line(build, fact):
    with pytest.raises(SpecError) as caught:
        build()
    assert fact in caught.value.fact
    assert caught.value.source.startswith(f"{__file__}:")
    assert caught.value.way_out


def test_a_machine_that_asks_for_its_own_rows_is_refused(tmp_path, monkeypatch):
    (tmp_path / "first_chip.py").write_text(RECURSIVE)
    monkeypatch.setattr(load, "spec_folder", lambda: tmp_path)
    with pytest.raises(SpecError, match="rows of first-chip of first-chip") as caught:
        load_spec("first-chip")
    assert caught.value.source == f"{tmp_path / 'first_chip.py'}:6"
