"""Specification files: found by name or path, and each mistake told with its file and line."""

import json
import sys
from dataclasses import replace

import pytest

from hago.annotate import annotate, choose_strategy
from hago.errors import SpecError
from hago.hardware.load import list_specs, load_spec, spec_digest, spec_folder, spec_to_json
from tests.graphs import residual_network

GOOD = """from hago.hardware import machine, memory, op, f32, s8, s32, u8

MACHINE = machine(
    "my-chip",
    target={"kind": "llvm", "mcpu": "cascadelake"},
    memory=memory(l1="32K", l2="1M"),
    ops=[
        op("conv2d", u8.asymmetric, s8.per_channel, sums_in=s32, gives=(u8, f32), by="vpdpbusd"),
    ],
)
"""


@pytest.fixture
def write(tmp_path):
    def write_spec(text, name="chip.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_spec


def refusal(path):
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return caught.value


def test_a_file_anywhere_is_a_machine(write):
    path = write(GOOD)
    for name in (path, str(path)):
        spec = load_spec(name)
        assert spec.name == "my-chip"
        assert (spec.ops[0].origin.file, spec.ops[0].origin.line) == (str(path), 8)


def test_a_file_needs_no_suffix(write):
    assert load_spec(write(GOOD, "chip")).name == "my-chip"


def test_a_copy_of_a_built_in_machine_works_the_same(write):
    own = load_spec(write((spec_folder() / "x86_vnni.py").read_text()))
    built_in = load_spec("x86-vnni")
    assert spec_digest(own) == spec_digest(built_in)
    strategies = [choose_strategy(annotate(residual_network(), s), "int8") for s in (own, built_in)]
    assert strategies[0] == strategies[1]


def test_the_digest_is_of_what_is_said_not_of_how(write):
    shuffled = GOOD.replace("u8\n", "u8  # bytes\n").replace('"conv2d"', '("conv2d",)')
    same = load_spec(write(shuffled))
    other = load_spec(write(GOOD.replace("by=", "throughput=1, by=")))
    digest = spec_digest(load_spec(write(GOOD)))
    assert spec_digest(same) == digest
    assert spec_digest(other) != digest


def test_the_data_form_is_json_and_complete(write):
    spec = load_spec(write(GOOD))
    data = json.loads(json.dumps(spec_to_json(spec)))
    assert data["target"] == {"kind": "llvm", "mcpu": "cascadelake"}
    assert data["ops"][0]["inputs"][0] == {
        "dtype": "uint8", "granularity": ["tensor"], "zero_point": True, "storage": None,
    }  # fmt: skip
    for change in ({"name": "x"}, {"features": ("avx2",)}, {"target": {"kind": "c"}}):
        assert spec_digest(replace(spec, **change)) != spec_digest(spec)


def test_a_misspelt_name_gets_the_nearest():
    error = refusal("x86-vni")
    assert "no machine called 'x86-vni'" in error.what
    assert "Did you mean 'x86-vnni'?" in error.way_out
    assert all(name in error.fact for name in list_specs())


def test_a_name_like_no_other_gets_the_list():
    error = refusal("abacus")
    assert "Did you mean" not in error.way_out
    assert "x86-amx" in error.fact


def test_a_path_that_is_not_there(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.py").what


def test_a_folder(tmp_path):
    assert "it is a folder" in refusal(tmp_path).what


MISTAKES = {
    "a syntax error": ("x = 1\nop(((\n", 2, "SyntaxError", ""),
    "a raised error": ("\n\nraise RuntimeError('no chip')\n", 3, "RuntimeError", ""),
    "an exit": ("\nimport sys\nsys.exit(3)\n", 3, "SystemExit", ""),
    "an error in a function": ("def f():\n    1 / 0\nf()\n", 2, "ZeroDivisionError", ""),
    "a relative import": ("\nfrom .other import x\n", 2, "ImportError", ""),
    "a module that is not there": ("import no_such_module\n", 1, "ModuleNotFoundError", ""),
    "a misspelt import": ("from hago.hardware import machin\n", 1, "ImportError", "'machine'"),
    "a misspelt word": (GOOD.replace("op(", "opp("), 8, "NameError", "'op'"),
    "a misspelt property": (
        GOOD.replace("u8.asymmetric", "u8.asymetric"), 8, "AttributeError", "'asymmetric'"),
    "a misspelt keyword": (GOOD.replace("by=", "througput=1, by="), 8, "TypeError", "'throughput'"),
    "a missing keyword": (GOOD.replace(', by="vpdpbusd"', ""), 8, "TypeError", ""),
    "endless recursion": ("def f():\n    f()\nf()\n", 2, "RecursionError", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_its_line(name, write):
    text, line, kind, hint = MISTAKES[name]
    path = write(text)
    error = refusal(path)
    assert error.what == f"{path}: the specification raised {kind}"
    assert error.source == f"{path}:{line}"
    assert error.fact
    assert (f"Did you mean {hint}?" if hint else "hago spec check") in error.way_out


def test_a_mistake_of_a_word_is_told_with_its_line(write):
    path = write(GOOD.replace('by="vpdpbusd"', 'by="vpdpbus"'))
    error = refusal(path)
    assert error.source == f"{path}:8"
    assert error.way_out == "Did you mean 'vpdpbusd'?"


@pytest.mark.parametrize("text", ["", "x = 1\n", "from hago.hardware import machine\n"])
def test_a_file_without_a_machine(text, write):
    error = refusal(write(text))
    assert "0 machines" in error.what
    assert "MACHINE = machine(...)" in error.way_out


def test_a_file_with_two_machines(write):
    second = GOOD.replace("MACHINE =", "OTHER =").replace("my-chip", "other")
    assert "2 machines (my-chip, other)" in refusal(write(GOOD + second)).what


def test_a_machine_with_two_names_is_one(write):
    assert load_spec(write(GOOD + "DEFAULT = MACHINE\n")).name == "my-chip"


def test_what_a_specification_prints_is_not_output(write, capsys):
    load_spec(write("print('hello')\n" + GOOD))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\n")


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "chip.py"
    path.write_bytes(b"\xff\xfe\x00\x81" * 8)
    assert "cannot be read as text" in refusal(path).what


def test_a_huge_file_is_not_run(write):
    path = write("raise RuntimeError\n" + "#" * (1 << 20))
    error = refusal(path)
    assert "too large for a specification" in error.what
    assert str(path.stat().st_size) in error.fact


def test_a_specification_leaves_no_module_behind(write):
    before = set(sys.modules)
    load_spec(write(GOOD))
    assert set(sys.modules) == before
