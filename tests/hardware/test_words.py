"""The words of a specification: what they build, and every way in which they refuse."""

import math

import pytest

from hago.errors import SpecError
from hago.hardware import (
    bf16,
    e4m3,
    f32,
    machine,
    memory,
    op,
    s4,
    s7,
    s8,
    s16,
    s32,
    saturating,
    u4,
    u8,
)
from hago.hardware.intrinsics import INTRINSICS
from hago.hardware.load import list_specs, load_spec
from hago.hardware.spec import OPERATORS, Alignment, Operand, multiplies
from hago.scheme import BFLOAT16, FLOAT32, INT4, INT32, UINT8, PerAxis, PerGroup, PerTensor

TARGET = {"kind": "llvm"}
SMALL = memory(l1="32K", l2="1M")


def conv(*operands, **changes):
    words = {"sums_in": s32, "gives": (u8, f32), "by": "vpdpbusd", **changes}
    return op("conv2d", *(operands or (u8.asymmetric, s8.per_channel)), **words)


def chip(**changes):
    words = {"target": TARGET, "memory": SMALL, "ops": [conv()], **changes}
    return machine(words.pop("name", "chip"), **words)


def refusal(build):
    """The SpecError of ``build``, which must say where it is and what to do."""
    with pytest.raises(SpecError) as caught:
        build()
    error = caught.value
    file, _, line = error.source.rpartition(":")
    assert file == __file__
    assert int(line) > 0
    assert error.what
    assert error.fact
    assert error.way_out
    return error


def test_a_row_holds_what_was_said():
    (row,) = conv(align={"k": 4, "n": 16}, throughput=256, requantize="fixed_point")
    assert (row.op, row.intrinsic, row.throughput) == ("conv2d", "vpdpbusd", 256.0)
    assert [operand.dtype for operand in row.inputs] == [UINT8, s8.dtype]
    assert [operand.zero_point for operand in row.inputs] == [True, False]
    assert row.output == (UINT8, FLOAT32)
    assert (row.accum.dtype, row.accum.saturates) == (INT32, False)
    assert (row.alignment.k, row.alignment.n, row.alignment.m) == (4, 16, 1)
    assert row.requantize == "fixed_point"
    assert str(row) == "conv2d(uint8, int8) -> int32 -> uint8 | float32"


def test_a_row_knows_its_line():
    (first,) = conv()
    (second,) = op("matmul", u8, s8, sums_in=s32, gives=(f32,), by="vpdpbusd")
    assert second.origin.file == __file__
    assert second.origin.line > first.origin.line


def test_one_word_makes_a_row_for_each_operator():
    rows = op(("conv2d", "matmul"), u8, s8, sums_in=s32, gives=(f32,), by="vpdpbusd")
    assert [row.op for row in rows] == ["conv2d", "matmul"]


@pytest.mark.parametrize(
    ("element", "allowed"),
    [(s8, "T"), (s8.per_channel, "TA"), (s8.per_group, "TAG"), (e4m3.per_channel, "TA")],
)
def test_a_granularity_allows_the_coarser_ones(element, allowed):
    granularities = {"T": PerTensor(), "A": PerAxis(0), "G": PerGroup(0, 32)}
    operand = element.operand()
    assert [n for n, each in granularities.items() if operand.allows(each)] == list(allowed)


def test_storage_is_narrower_than_what_is_computed():
    assert e4m3.per_channel.stored_as(s4).operand().storage == INT4


def test_a_saturating_accumulator_says_how_many_products_meet():
    (row,) = conv(u8.asymmetric, s7, sums_in=saturating(s16, terms=2), by="vpmaddubsw")
    assert (row.accum.dtype, row.accum.saturates, row.accum.terms) == (s16.dtype, True, 2)


def test_sizes_are_bytes():
    found = memory(l1="48K", l2="2M", l3="1G", bandwidth=4)
    assert (found.l1, found.l2, found.l3, found.bandwidth) == (48 << 10, 2 << 20, 1 << 30, 4.0)


def test_rows_are_asked_for_in_order_of_preference():
    tile = conv(by="tdpbusd")
    spec = chip(ops=[tile, conv()])
    assert [row.intrinsic for row in spec.rows("conv2d")] == ["tdpbusd", "vpdpbusd"]
    assert spec.rows("matmul") == ()


def test_a_machine_multiplies_what_its_rows_say():
    row = op("matmul", bf16, bf16, sums_in=f32, gives=(f32,), by="vdpbf16ps")
    assert multiplies(chip(ops=[row]), BFLOAT16)
    assert not multiplies(chip(), BFLOAT16)


BAD_ROWS = {
    "an unknown operator": (lambda: op("conv3d", u8, s8, sums_in=s32, gives=(f32,), by="sdot"),
                            "'conv3d'", "Did you mean 'conv2d'?"),
    "an operator that is no text": (lambda: op([7], u8, s8, sums_in=s32, gives=(f32,), by="sdot"),
                                    "the operators", "conv2d"),
    "operators that are no list": (lambda: op(7, u8, s8, sums_in=s32, gives=(f32,), by="sdot"),
                                   "the operators", "conv2d"),
    "an unknown instruction": (lambda: conv(by="vpdpbus"), "'vpdpbus'", "'vpdpbusd'"),
    "an instruction like no other": (lambda: conv(by="xyz"), "'xyz'", "Known: vpmaddubsw"),
    "an unknown requantization": (lambda: conv(requantize="float"), "'float'", "float32"),
    "an operand that is text": (lambda: conv("u8", s8), "an operand", "u8 or s8"),
    "outputs that are no list": (lambda: conv(gives=u8), "gives", "gives=(u8, f32)"),
    "an output that is text": (lambda: conv(gives=("u8",)), "gives", "gives=(u8, f32)"),
    "no output": (lambda: conv(gives=()), "row 'conv2d'", "gives=(f32,)"),
    "an accumulator that is text": (lambda: conv(sums_in="s32"), "sums_in", "sums_in=s32"),
    "too few operands": (lambda: conv(u8), "row 'conv2d'", "one element type an operand"),
    "too many operands": (lambda: op("table", u8, u8, sums_in=s32, gives=(u8,), by="vfmadd"),
                          "row 'table'", "one element type an operand"),
    "no operand": (lambda: op("concat", sums_in=s32, gives=(u8,), by="vfmadd"),
                   "row 'concat'", "Give an operand"),
    "integers summed in floats": (lambda: conv(sums_in=f32), "row 'conv2d'", "Sum integers"),
    "floats summed in integers": (lambda: conv(f32, f32), "row 'conv2d'", "Sum integers"),
    "an integer times a float": (lambda: conv(u8, bf16), "row 'conv2d'", "Sum integers"),
    "a narrow accumulator": (lambda: conv(sums_in=s8), "row 'conv2d'", "saturating"),
    "operands that the instruction does not take": (
        lambda: conv(s8, s8), "row 'conv2d' by vpdpbusd", "another instruction"),
    "operands in the other order": (
        lambda: conv(s8, u8), "row 'conv2d' by vpdpbusd", "its own element types"),
    "floats by an instruction of integers": (
        lambda: conv(f32, f32, sums_in=f32), "row 'conv2d' by vpdpbusd", "another instruction"),
    "another accumulator than the instruction's": (
        lambda: conv(sums_in=s16, by="vpdpbusd"), "row 'conv2d' by vpdpbusd", "what it sums in"),
    "an alignment that the instruction is no divisor of": (
        lambda: conv(align={"k": 6}), "row 'conv2d' by vpdpbusd", '{"k": 4}'),
    "activations with a scale a channel": (
        lambda: conv(u8.per_channel, s8), "row 'conv2d'", "drop '.per_channel'"),
    "groups of a computed operand": (
        lambda: op("batch_matmul", u8, s8.per_group, sums_in=s32, gives=(f32,), by="vpdpbusd"),
        "row 'batch_matmul'", "Only constant weights"),
    "activations that are stored narrower": (
        lambda: op("matmul", e4m3.stored_as(s4), e4m3, sums_in=f32, gives=(f32,), by="mme.e4m3"),
        "row 'matmul'", "drop '.stored_as'"),
    "a sum that does not say that it saturates": (
        lambda: conv(sums_in=s16, by="vpmaddubsw"), "row 'conv2d' by vpmaddubsw",
        "saturating(s16, terms=2)"),
    "more products in a sum than the instruction adds up": (
        lambda: conv(sums_in=saturating(s16, terms=4), by="vpmaddubsw"),
        "row 'conv2d' by vpmaddubsw", "saturating(s16, terms=2)"),
    "an exact sum that is said to saturate": (
        lambda: conv(sums_in=saturating(s32, terms=4)), "row 'conv2d' by vpdpbusd",
        "Write sums_in=s32"),
    "products by an instruction that adds up none": (
        lambda: conv(s8, s8, by="tbl"), "row 'conv2d' by tbl", "another instruction"),
    "moved codes that become others": (
        lambda: op("move", u8.asymmetric, sums_in=s32, gives=(s8,), by="vfmadd"), "row 'move'",
        "with uint8"),
    "fixed point from floats": (
        lambda: conv(f32, f32, sums_in=f32, requantize="fixed_point"), "row 'conv2d'", "integer"),
    "a throughput that is no number": (lambda: conv(throughput=math.nan), "throughput=nan", "64"),
    "an infinite throughput": (lambda: conv(throughput=math.inf), "throughput=inf", "64"),
    "a negative throughput": (lambda: conv(throughput=-1), "throughput=-1", "64"),
    "a throughput that is text": (lambda: conv(throughput="64"), "throughput='64'", "64"),
    "a throughput that is a truth": (lambda: conv(throughput=True), "throughput=True", "64"),
    "an alignment of nothing": (lambda: conv(align={"k": 0}), "align k=0", "positive"),
    "an alignment that is no number": (lambda: conv(align={"k": 2.5}), "align k", '{"k": 4}'),
    "an alignment of another axis": (lambda: conv(align={"kk": 4}), "'kk'", "Did you mean 'k'?"),
    "an alignment that is no mapping": (lambda: conv(align=4), "align", '{"k": 4}'),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_row_refuses(name):
    build, what, way_out = BAD_ROWS[name]
    error = refusal(build)
    assert what in error.what
    assert way_out in error.way_out


BAD_ELEMENTS = {
    "a zero point of floats": (lambda: f32.asymmetric, "has no zero point"),
    "a zero point of 8-bit floats": (lambda: e4m3.asymmetric, "has no zero point"),
    "a zero point of pairs": (lambda: s8.paired.asymmetric, "int8_pairs has no zero point"),
    "pairs with a zero point": (lambda: s8.asymmetric.paired, "not of int8 with a zero point"),
    "pairs of 7 bits": (lambda: s7.paired, "the bound is one of int8 weights, not of int7"),
    "channels of plain floats": (lambda: bf16.per_channel, "bfloat16 has no scale"),
    "groups of plain floats": (lambda: f32.per_group, "float32 has no scale"),
    "storage that is wider": (lambda: s8.stored_as(s32), "int32 is not narrower than int8"),
    "storage of the same width": (lambda: e4m3.stored_as(s8), "is not narrower"),
    "storage that is text": (lambda: e4m3.stored_as("s4"), "of type str"),
    "storage of integers": (lambda: s8.stored_as(s4), "int8 is not computed from narrower codes"),
    "storage of plain floats": (lambda: f32.stored_as(s8), "float32 is not computed from narrower"),
    "storage in unsigned codes": (lambda: e4m3.stored_as(u4), "what is stored is a signed integer"),
    "storage in floats": (lambda: f32.stored_as(bf16), "float32 is not computed from narrower"),
    "storage with a zero point": (lambda: e4m3.stored_as(s4.asymmetric), "no more is said of it"),
    "storage with scales of its own": (lambda: e4m3.stored_as(s4.per_group), "no more is said"),
    "one saturating product": (lambda: saturating(s16, terms=1), "1 products cannot meet"),
    "terms that are no number": (lambda: saturating(s16, terms="2"), "of type str"),
    "saturation of floats": (lambda: saturating(f32, terms=2), "float32 do not saturate"),
    "saturation of text": (lambda: saturating("s16", terms=2), "of type str"),
}


@pytest.mark.parametrize("name", BAD_ELEMENTS)
def test_an_element_refuses(name):
    build, fact = BAD_ELEMENTS[name]
    assert fact in refusal(build).fact


BAD_MACHINES = {
    "a target without a kind": (lambda: chip(target={"mcpu": "x"}), "machine 'chip'"),
    "a target that is text": (lambda: chip(target="llvm"), "machine 'chip': target"),
    "a target with an object": (lambda: chip(target={"kind": object()}), "target['kind']"),
    "no rows": (lambda: chip(ops=[]), "machine 'chip'"),
    "rows that are no list": (lambda: chip(ops=7), "ops"),
    "rows without a list around them": (lambda: chip(ops=conv()), "ops"),
    "a row that is text": (lambda: chip(ops=[("conv2d",)]), "ops"),
    "needs that are one text": (lambda: chip(needs="avx2"), "needs"),
    "needs that are no text": (lambda: chip(needs=(2,)), "needs"),
    "memory that is text": (lambda: chip(memory="32K"), "memory"),
    "a name that is no text": (lambda: chip(name=7), "machine"),
    "an empty name": (lambda: chip(name=" "), "machine"),
    "a description that is no text": (lambda: chip(description=7), "description"),
    "two rows for the same": (lambda: chip(ops=[conv(), conv(throughput=3)]), "two rows for conv"),
    "a size without a unit": (lambda: memory(l1="32", l2="1M"), "size '32'"),
    "a size in other units": (lambda: memory(l1="32KB", l2="1M"), "size '32KB'"),
    "a size of nothing": (lambda: memory(l1="", l2="1M"), "size ''"),
    "a negative size": (lambda: memory(l1="-1K", l2="1M"), "size '-1K'"),
    "no L1": (lambda: memory(l1="0K", l2="1M"), "memory"),
    "an L2 smaller than L1": (lambda: memory(l1="1M", l2="32K"), "memory"),
    "an L3 smaller than L2": (lambda: memory(l1="32K", l2="2M", l3="1M"), "memory"),
    "an instruction of CPUs that are not needed": (
        lambda: chip(needs=("avx512f", "avx512bw")), "row 'conv2d' by vpdpbusd"),
    "an instruction of later GPUs": (
        lambda: chip(needs=("sm_75",), ops=[conv(s8, s8, by="mma.m16n8k32.s8")]),
        "row 'conv2d' by mma.m16n8k32.s8"),
    "an instruction of one GPU alone": (
        lambda: chip(needs=("sm_90",), ops=[conv(s8, s8, by="wgmma.m64nNk32.s8")]),
        "row 'conv2d' by wgmma"),
    "code for a later GPU": (
        lambda: chip(needs=("sm_80",), target={"kind": "cuda", "arch": "sm_90"},
                     ops=[conv(s8, s8, by="mma.m16n8k32.s8")]), "target sm_90"),
    "a model that is text": (lambda: chip(is_model="yes"), "is_model"),
    "a size that is a number": (lambda: memory(l1=32, l2="1M"), "l1"),
    "a bandwidth that is no number": (
        lambda: memory(l1="1K", l2="1M", bandwidth=math.nan), "bandwidth=nan"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_MACHINES)
def test_a_machine_refuses(name):
    build, what = BAD_MACHINES[name]
    assert what in refusal(build).what


def test_what_a_later_gpu_has_of_earlier_ones_is_taken():
    row = conv(s8, s8, by="mma.m16n8k32.s8")
    for arch in ("sm_80", "sm_86", "sm_90a", "sm_120"):
        assert chip(needs=(arch,), target={"kind": "cuda", "arch": arch}, ops=[row]).ops == row


def test_two_rows_for_the_same_name_both_lines():
    error = refusal(lambda: chip(ops=[conv(), conv()]))
    assert f"the first is at {__file__}:" in error.fact


@pytest.mark.parametrize("name", list_specs())
def test_every_word_of_the_machines_is_in_the_tables(name):
    spec = load_spec(name)
    assert {row.op for row in spec.ops} <= set(OPERATORS)
    assert {row.intrinsic for row in spec.ops} <= set(INTRINSICS)
    assert all(row.throughput > 0 for row in spec.ops)


def test_every_instruction_is_used_by_a_machine_or_known_to_be_an_alternative():
    used = {row.intrinsic for name in list_specs() for row in load_spec(name).ops}
    # Arm: unsigned activations instead of signed ones, for specifications of users.
    assert set(INTRINSICS) - used == {"udot", "ummla", "usdot", "usmmla"}


def test_what_is_built_without_words_cannot_be_wrong_either():
    with pytest.raises(ValueError, match="float32 has no zero point"):
        Operand(FLOAT32, zero_point=True)
    with pytest.raises(ValueError, match="at least 1"):
        Alignment(k=0)
