"""Every emulated instruction does what its manual says; the same tests run on a CPU with AMX."""

import signal
import subprocess
from functools import cache

import ml_dtypes
import numpy as np
import pytest

from hago.codegen.intrin.amx import TILE_PRODUCTS, TileProduct, multiply_tiles
from tests.emulator.emulation import FOLDER, compile_c, environment, scratch_folder

PLACES = {"config": 0, "a": 1024, "b": 2048, "c": 4096, "out": 8192}  # in a program's memory
SIZE, UNTOUCHED = 16384, 0xEE
PRODUCTS = {
    **{product.name: product for product in TILE_PRODUCTS},
    "tdpbuud": TileProduct("tdpbuud", "uint8", "uint8", "int32", 4),
    "tdpbsud": TileProduct("tdpbsud", "int8", "uint8", "int32", 4),
}
DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}


def config(shapes, palette=1):
    """The operand of LDTILECFG for ``{tile: (rows, bytes a row)}``."""
    table = np.zeros(64, np.uint8)
    table[0] = palette
    for tile, (rows, width) in shapes.items():
        table[16 + 2 * tile], table[48 + tile] = width, rows
    return table


def memory(**parts):
    """A program's memory with arrays at the named places."""
    data = np.full(SIZE, UNTOUCHED, np.uint8)
    for name, part in parts.items():
        content = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
        data[PLACES[name] : PLACES[name] + content.size] = content
    return data


@cache
def assemble(program):
    """An executable of ``program``: AT&T assembly in which %rdi is the address of the memory."""
    source = scratch_folder() / "body.s"
    source.write_text(f".globl body\nbody:\n{program}\nret\n.section .note.GNU-stack\n")
    return compile_c([FOLDER / "memory.c", source], "program")


def attempt(program, data):
    return subprocess.run(
        [assemble(program)], input=data.tobytes(), capture_output=True, env=environment()
    )


def execute(program, data):
    """The memory after ``program``."""
    done = attempt(program, data)
    assert done.returncode == 0, done
    return np.frombuffer(done.stdout, np.uint8)


def part(data, name, count, dtype="uint8"):
    return data[PLACES[name] :].view(DTYPES.get(dtype, np.dtype(dtype)))[:count]


def random_array(random, shape, dtype):
    if dtype == "bfloat16":
        return random.normal(size=shape).astype(DTYPES[dtype])
    if dtype == "float32":
        return random.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    values = random.integers(info.min, info.max + 1, shape)
    extreme = random.random(shape) < 0.2
    values[extreme] = random.choice([info.min, info.max], size=int(extreme.sum()))
    return values.astype(dtype)


@pytest.mark.parametrize("shape", [(16, 64, 16), (1, 4, 1), (7, 12, 5), (16, 36, 16)], ids=str)
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_tile_product_is_its_meaning(name, shape):
    product, (rows, depth_bytes, columns) = PRODUCTS[name], shape
    random = np.random.default_rng(3)
    a = random_array(random, (rows, depth_bytes // product.size), product.data)
    b = random_array(random, (depth_bytes // 4, columns * product.depth), product.weight)
    c = random_array(random, (rows, columns), product.accum)
    shapes = {0: (rows, columns * 4), 4: (rows, depth_bytes), 6: (depth_bytes // 4, columns * 4)}
    program = f"""
        ldtilecfg (%rdi)
        mov ${depth_bytes}, %ecx
        mov ${columns * 4}, %edx
        tileloadd 1024(%rdi,%rcx,1), %tmm4
        tileloadd 2048(%rdi,%rdx,1), %tmm6
        tileloadd 4096(%rdi,%rdx,1), %tmm0
        {name} %tmm6, %tmm4, %tmm0
        tilestored %tmm0, 8192(%rdi,%rdx,1)
        tilerelease"""
    after = execute(program, memory(config=config(shapes), a=a, b=b, c=c))
    found = part(after, "out", c.size, product.accum).reshape(c.shape)
    np.testing.assert_array_equal(found, multiply_tiles(product, c, a, b))


def test_a_store_writes_the_configured_rows_and_bytes_only():
    data = memory(config=config({3: (2, 12)}), a=np.arange(200, dtype=np.uint8))
    after = execute(
        """
        ldtilecfg (%rdi)
        mov $50, %ecx
        mov $32, %edx
        tileloadd 1024(%rdi,%rcx,1), %tmm3
        tilestored %tmm3, 8192(%rdi,%rdx,1)""",
        data,
    )
    expected = np.full((3, 32), UNTOUCHED, np.uint8)
    expected[0, :12], expected[1, :12] = np.arange(12), np.arange(50, 62)
    np.testing.assert_array_equal(part(after, "out", 96).reshape(3, 32), expected)


def test_a_configuration_is_stored_as_it_was_loaded():
    table = config({0: (16, 64), 5: (3, 20), 7: (5, 64)})
    after = execute("ldtilecfg (%rdi)\nsttilecfg 8192(%rdi)", memory(config=table))
    np.testing.assert_array_equal(part(after, "out", 64), table)


@pytest.mark.parametrize("ending", ["tilerelease", "ldtilecfg 1024(%rdi)"])
def test_a_released_configuration_is_stored_as_zeros(ending):
    data = memory(config=config({0: (16, 64)}), a=np.zeros(64, np.uint8))
    after = execute(f"ldtilecfg (%rdi)\n{ending}\nsttilecfg 8192(%rdi)", data)
    assert not part(after, "out", 64).any()


@pytest.mark.parametrize("clearing", ["tilezero %tmm2", "ldtilecfg (%rdi)"])
def test_tiles_become_zero(clearing):
    data = memory(config=config({2: (4, 16)}), a=np.full(64, 7, np.uint8))
    after = execute(
        f"""
        ldtilecfg (%rdi)
        mov $16, %ecx
        tileloadd 1024(%rdi,%rcx,1), %tmm2
        {clearing}
        tilestored %tmm2, 8192(%rdi,%rcx,1)""",
        data,
    )
    np.testing.assert_array_equal(part(after, "out", 80), [0] * 64 + [UNTOUCHED] * 16)


@pytest.mark.parametrize(
    "address",
    [
        "lea 1024(%rdi), %r12\nmov $8, %ecx\ntileloadd (%r12,%rcx,1), %tmm1",
        "lea 1000(%rdi), %r13\nmov $4, %ecx\ntileloaddt1 24(%r13,%rcx,2), %tmm1",
        "lea 1024(%rdi), %rbp\nmov $2, %r12d\ntileloadd (%rbp,%r12,4), %tmm1",
        "lea 1048(%rdi), %rax\nmov $-8, %r9\ntileloadd -24(%rax,%r9,1), %tmm1",
    ],
    ids=["base r12", "base r13, scale 2", "base rbp, index r12", "negative stride"],
)
def test_every_form_of_an_address_is_decoded(address):
    data = memory(config=config({1: (2, 8)}), a=np.arange(16, dtype=np.uint8))
    data[PLACES["a"] - 8 : PLACES["a"]] = np.arange(8, 16)  # what a negative stride reads
    program = f"""
        push %rbp
        push %r12
        push %r13
        ldtilecfg (%rdi)
        {address}
        mov $8, %ecx
        tilestored %tmm1, 8192(%rdi,%rcx,1)
        pop %r13
        pop %r12
        pop %rbp"""
    np.testing.assert_array_equal(part(execute(program, data), "out", 16), np.arange(16))


def test_a_configuration_may_lie_behind_the_instruction_pointer_or_on_the_stack():
    table = config({0: (1, 4)})
    program = """
        movups (%rdi), %xmm0
        movups 16(%rdi), %xmm1
        movups 32(%rdi), %xmm2
        movups 48(%rdi), %xmm3
        movups %xmm0, -128(%rsp)
        movups %xmm1, -112(%rsp)
        movups %xmm2, -96(%rsp)
        movups %xmm3, -80(%rsp)
        ldtilecfg -128(%rsp)
        sttilecfg 8192(%rdi)
        jmp 2f
        .balign 64
        1: .byte 0
        .fill 63, 1, 0
        2: ldtilecfg 1b(%rip)
        sttilecfg 8256(%rdi)"""
    after = execute(program, memory(config=table))
    np.testing.assert_array_equal(part(after, "out", 128), [*table, *[0] * 64])


@pytest.mark.parametrize(
    ("shapes", "program", "ends_by"),
    [
        ({}, "tilezero %tmm0", signal.SIGILL),
        ({0: (4, 16), 4: (4, 8), 6: (3, 16)}, "tdpbusd %tmm6, %tmm4, %tmm0", signal.SIGILL),
        ({0: (4, 16), 4: (5, 8), 6: (2, 16)}, "tdpbusd %tmm6, %tmm4, %tmm0", signal.SIGILL),
        ({0: (4, 16), 4: (4, 10), 6: (2, 16)}, "tdpbusd %tmm6, %tmm4, %tmm0", signal.SIGILL),
        ({0: (17, 64)}, "", signal.SIGSEGV),
        ({0: (16, 68)}, "", signal.SIGSEGV),
        ({0: (0, 64)}, "", signal.SIGSEGV),
        ({0: (1, 4)}, "ud2", signal.SIGILL),
    ],
    ids=["tile without shape", "k differs", "m differs", "k is no multiple of 4", "17 rows",
         "68 bytes", "no rows", "another illegal instruction"],
)  # fmt: skip
def test_misuse_ends_the_process_as_on_hardware(shapes, program, ends_by):
    done = attempt(f"ldtilecfg (%rdi)\n{program}", memory(config=config(shapes)))
    assert done.returncode == -ends_by


def test_a_palette_that_does_not_exist_is_refused():
    done = attempt("ldtilecfg (%rdi)", memory(config=config({0: (1, 4)}, palette=2)))
    assert done.returncode == -signal.SIGSEGV
