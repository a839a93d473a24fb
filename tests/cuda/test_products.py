"""Products on tensor cores: the text that nvcc gets, run without a GPU, equals its meaning."""

import pytest

from hago.codegen.workload import BatchMatmul, Conv2d, Matmul
from hago.hardware.load import load_spec
from hago.lower.select import find_template, machine_of
from tests.codegen.recipes import Recipe
from tests.cuda.cases import HARDWARE, PLAYED, case, play

INT8 = {"data": "int8", "weight": "int8"}
WORKLOADS = {
    "a row": (Matmul(1, 40, 72, **INT8), Recipe()),
    "odd sizes": (Matmul(33, 37, 51, **INT8), Recipe(activation="gelu")),
    "several tiles of depth": (Matmul(70, 72, 520, **INT8), Recipe(residual="int8", output="int8")),
    "many rows": (Matmul(2100, 96, 64, **INT8), Recipe(per_channel=False, output="int8")),
    "unsigned data": (Matmul(20, 24, 40, "uint8", "int8"), Recipe(correction=True)),
    "3x3": (Conv2d(2, 7, 6, 32, 40, 3, 3, padding=(1, 1, 1, 1), **INT8), Recipe(output="int8")),
    "stem of 3 channels": (
        Conv2d(1, 15, 15, 3, 33, 7, 7, (2, 2), (3, 3, 3, 3), **INT8), Recipe(activation="relu6"),
    ),
    "other padding than zero": (
        Conv2d(1, 6, 7, 8, 16, 3, 3, (1, 2), (0, 1, 1, 0), pad_code=-5, **INT8), Recipe(),
    ),
    "groups, dilated": (
        Conv2d(1, 9, 8, 24, 36, 3, 3, (1, 2), (1, 1, 1, 1), (2, 2), 3, **INT8),
        Recipe(residual="float32"),
    ),
    "attention": (BatchMatmul(3, 20, 40, 33, **INT8), Recipe(output="int8")),
    "attention, odd": (BatchMatmul(2, 17, 35, 70, **INT8), Recipe()),
    "24 channels, stride 2": (Conv2d(1, 6, 5, 24, 24, 1, 1, (2, 2), **INT8), Recipe()),
}  # fmt: skip

INT4 = {"data": "int4", "weight": "int4"}
NIBBLES = {
    "4 bits, odd sizes": (Matmul(33, 37, 51, **INT4), Recipe(activation="gelu")),
    "4 bits, several tiles of depth": (Matmul(20, 72, 520, **INT4), Recipe(output="int8")),
    "4 bits, 3x3, other padding than zero": (
        Conv2d(1, 7, 6, 32, 40, 3, 3, padding=(1, 1, 1, 1), pad_code=-5, **INT4), Recipe(),
    ),
    "4 bits, groups of 9 channels": (
        Conv2d(1, 6, 7, 18, 10, 3, 3, (2, 1), (1, 1, 1, 1), groups=2, **INT4), Recipe(),
    ),
}  # fmt: skip
ALL = {**WORKLOADS, **NIBBLES}


def workloads_of(hardware):
    """Those that the machine's tensor cores multiply."""
    device = machine_of(load_spec(hardware))
    return {name: each for name, each in ALL.items() if find_template(each[0], device) is not None}


@pytest.fixture(scope="module", params=PLAYED)
def played(request, tmp_path_factory):
    cases = {
        name: case(workload, recipe, request.param)
        for name, (workload, recipe) in workloads_of(request.param).items()
    }
    return cases, *play(cases, request.param, tmp_path_factory.mktemp("cuda"))


def test_all_machines_multiply_bytes_and_hopper_no_nibbles():
    for hardware in HARDWARE:
        expected = WORKLOADS if hardware == "cuda-sm90" else ALL
        assert workloads_of(hardware) == expected


@pytest.mark.parametrize("name", ALL)
def test_a_kernel_equals_its_meaning_in_any_order_of_threads(played, name):
    cases, program, names = played
    if name not in cases:
        return
    for seed in (1, 2):
        cases[name].check(program, names[name], slack=0.0, seed=seed)


@pytest.mark.parametrize("name", ALL)
def test_no_two_rows_of_an_ldmatrix_meet_in_a_bank(played, name):
    cases, program, names = played
    if name not in cases:
        return
    cases[name].check(program, names[name], slack=0.0)
    assert program.number("instructions") > 0
    assert program.number("conflicts") == 0
