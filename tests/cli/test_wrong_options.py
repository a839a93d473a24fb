"""Options and commands that make no sense: one clear error, exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from hago.cli.app import tell_defect
from tests.cli.program import MACHINE, Program
from tests.cli.refusals import assert_nothing_written, assert_refused

OPTIONS = {
    "precision": (("--precision", "int9"), ("int9", "did you mean 'int8'", "bf16")),
    "recipe": (("--recipe", "mse,perzentile"), ("perzentile", "did you mean 'percentile'")),
    "empty recipe": (("--recipe", ","), ("names no method",)),
    "recipe's name": (("--recipe", "balancd"), ("balancd", "did you mean 'balanced'")),
    "recipe left open": (
        ("--recipe", "percentile(keep=99"), ("( is never closed", "percentile(keep=99", "^"),
    ),
    "method's option": (
        ("--recipe", "percentile(kepe=99)"), ("did you mean 'keep'", "keep: float = 99.99"),
    ),
    "option of another type": (
        ("--recipe", "percentile(keep='99')"), ("of type str", "keep: float = 99.99"),
    ),
    "option out of range": (("--recipe", "percentile(keep=0)"), ("percentile: keep=0",)),
    "code for a recipe": (("--recipe", "__import__('os').abort()"), ("method's name", "^")),
    "weights of one bit": (("--weight-bits", "1"), ("--weight-bits 2 to 8",)),
    "activations of nine bits": (("--activation-bits", "9"), ("--activation-bits 2 to 8",)),
    "groups without a matrix": (("--weight-group", "32"), ("end layers", "--narrow-ends")),
    "groups that divide nothing": (
        ("--weight-group", "32", "--narrow-ends"), ("have 8 weights", "divides one of these"),
    ),
    "few bits of no codes": (
        ("--precision", "float32", "--weight-bits", "4"), ("'float32'", "--precision int8"),
    ),
    "shape": (("--shape", "image"), ("--shape image", "image=1x3x224x224")),
    "shape of words": (("--shape", "image=axb"), ("image=axb",)),
    "shape of nothing": (("--shape", "image=1x3x0x8"), ("size of 0",)),
    "shape twice": (("--shape", "image=1x3x8x8") * 2, ("has a shape already",)),
    "shape for no input": (("--shape", "imag=1x3x8x8"), ("'imag'", "Did you mean 'image'?")),
    "another shape": (("--shape", "image=1x3x9x9"), ("1x3x9x9", "1x3x8x8")),
    "no threads": (("--threads", "0"), ("--threads", "1")),
    "threads": (("--threads", "many"), ("--threads", "integer")),
    "too many threads": (("--threads", "100000"), ("100000 threads",)),
    "unknown option": (("--recipy", "mse"), ("--recipy", "--recipe")),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_that_is_wrong(
    hago_program: Program, model: Path, data: Path, tmp_path: Path, name: str
) -> None:
    options, parts = OPTIONS[name]
    arguments = ("--hw", MACHINE, "--data", data, "-o", tmp_path / "out", *options)
    assert_refused(hago_program("compile", model, *arguments), *parts)
    assert_nothing_written(tmp_path, set())


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("cmpile",), "compile"),
        (("compile",), "MODEL"),
        (("compile", "m.onnx"), "--hw"),
        (("run", "dir"), "--input"),
        (("explain", "dir"), "EDGE"),
        (("spec", "lst"), "list"),
    ],
)
def test_a_command_that_is_incomplete(
    hago_program: Program, arguments: tuple[str, ...], part: str
) -> None:
    assert_refused(hago_program(*arguments), part, "--help")


def test_a_defect_is_told_in_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    tell_defect(ValueError, ValueError("odd"), None)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "hago has a defect: ValueError: odd"
    assert "HAGO_DEBUG=1" in lines[1]
