"""Weights of 4 bits in groups, of which GPUs make 8-bit floats in front of their tensor cores."""

import ml_dtypes  # noqa: F401  numpy learns float8_e4m3fn from it
import pytest

from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.annotate.narrow import WeightFormat, narrow_weights
from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import Conv2d, GroupedMatmul
from hago.hardware.load import load_spec
from hago.lower.lower import lower, lower_with_weights
from hago.lower.select import build_kernel, find_template, machine_of
from hago.lower.stored import constant_bytes
from hago.methods.assign import assign_numbers
from hago.realize import realize
from tests.codegen.recipes import Recipe
from tests.cuda.cases import case, play, play_each
from tests.cuda.network import codes_on
from tests.cuda.ptx import instructions, loops, ptx
from tests.cuda.test_others import SLACK
from tests.cuda.test_warpgroups import LARGE, is_in_groups, tiles
from tests.graphs import Builder, all_values, input_for, residual_network
from tests.zoo.exactness import assert_exact, compare_codes

HOPPER, FLOAT8 = "cuda-sm90", "float8_e4m3fn"
FORM = {"data": FLOAT8, "weight": "int4"}
WORKLOADS = {
    "a row, groups of 32": (GroupedMatmul(1, 40, 192, 32, **FORM), Recipe()),
    "groups of 16": (GroupedMatmul(33, 37, 80, 16, **FORM), Recipe(activation="gelu")),
    "groups of 128": (GroupedMatmul(20, 72, 512, 128, **FORM), Recipe(output=FLOAT8)),
    "3x3": (Conv2d(1, 7, 6, 12, 24, 3, 3, padding=(1,) * 4, **FORM), Recipe(output=FLOAT8)),
    "odd channels, stride 2": (Conv2d(2, 9, 8, 5, 7, 3, 3, (2, 2), (1,) * 4, **FORM), Recipe()),
    "a scale a column": (GroupedMatmul(17, 24, 208, 208, **FORM), Recipe(residual="float32")),
}
DEEP = GroupedMatmul(2048, 2048, 4096, 128, **FORM)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    return play_each(WORKLOADS, HOPPER, tmp_path_factory.mktemp("cuda"))


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_kernel_equals_its_meaning(played, name):
    cases, built, names = played
    cases[name].check(built, names[name], slack=SLACK)
    assert built.number("conflicts") == 0


def test_warpgroups_take_them_too(tmp_path):
    with tiles(LARGE):
        each = case(GroupedMatmul(130, 140, 256, 32, **FORM), Recipe(), "cuda-sm90a")
    assert is_in_groups(each.kernel)
    built, names = play({"x": each}, "cuda-sm90a", tmp_path)
    # Tensor cores cut 33 terms and the sum of each of four instructions 13 bits behind the largest,
    # in two joined sums; recipes bring sums to no more than 8, and terms are smaller.
    each.check(built, names["x"], slack=8 * 2 * 4 * 34 * 2.0**-13)


def test_nibbles_become_e4m3_beside_the_tensor_cores():
    name = "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32"
    plain = Epilogue("float32", "float32")
    (text,) = ptx([build_kernel(DEEP, plain, machine_of(load_spec(HOPPER)))], HOPPER)
    inner = instructions(max(loops(text), key=lambda loop: instructions(loop)[name]))
    assert inner[name] >= 16
    assert inner["cvt.rn.satfinite.e4m3x2.f32"] >= 16  # two each; a thread has a chunk or more


@pytest.mark.parametrize("hardware", ["cuda-sm75", "cuda-sm80"])
def test_older_tensor_cores_do_not_take_them(hardware):
    assert find_template(DEEP, machine_of(load_spec(hardware))) is None


def stored_in_four_bits(module, group):
    """``module`` for Hopper in fp8, with weights of 4 bits."""
    spec, values = load_spec(HOPPER), all_values(module, input_for(module))
    graph = annotate(module, spec)
    strategy = choose_strategy(graph, "float8")
    strategy = narrow_weights(graph, strategy, WeightFormat(4, group, ends=True))
    model = assign_numbers(
        graph, strategy, lambda src, _: (float(values[src].min()), float(values[src].max())),
        constant_edges(graph),
    )  # fmt: skip
    return realize(model)


def two_layers():
    b = Builder(1, 16, 64)
    return b.done(b.dense("second", b.dense("first", b.input, 64), 64))


def test_the_library_holds_nibbles_and_scales():
    codes, scales, numbers = 2 * 64 * 64 // 2, 2 * 64 * 2 * 4, 3 * 4
    lowered = lower(stored_in_four_bits(two_layers(), 32), load_spec(HOPPER))
    assert constant_bytes(lowered) == codes + scales + numbers


@pytest.mark.parametrize(("build", "group"), [(two_layers, 32), (residual_network, None)])
def test_a_network_equals_the_reference(build, group, tmp_path):
    module = build()
    realized = stored_in_four_bits(module, group)
    calls = lower_with_weights(realized, load_spec(HOPPER), ()).calls
    decoded = [c for c in calls if getattr(c.workload, "weight", "") == "int4"]
    assert len(decoded) == 2  # a matrix of 8 columns has no whole chunk
    found = compare_codes(realized, input_for(module), codes_on(HOPPER, tmp_path))
    assert_exact(found)
