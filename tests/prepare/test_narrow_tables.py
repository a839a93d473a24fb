"""narrow_tables: rows of 4-bit codes are the rows of the table that they stand for."""

import numpy as np
import pytest

from hago.dataflow import read_dataflow
from hago.prepare.narrow_tables import CodebookTable, RowTable, float_tables, narrow_tables
from hago.realize.interpret import interpret
from tests.methods.lookup import ROWS, WIDTH, looked_up, table, texts

RANDOM = np.random.default_rng(3)
CODES = RANDOM.integers(0, 16, (ROWS, WIDTH)).astype(np.uint8)
TABLES = {
    "rows": RowTable(
        CODES,
        RANDOM.uniform(0.01, 1, ROWS).astype(np.float16),
        RANDOM.normal(size=ROWS).astype(np.float16),
    ),
    "codebook": CodebookTable(CODES, RANDOM.normal(size=(ROWS, 16)).astype(np.float16)),
}


@pytest.mark.parametrize("kind", TABLES)
def test_it_computes_what_the_decoded_table_does(kind):
    module, narrow = looked_up(table()), TABLES[kind]
    sample = texts(1, 0)[0]
    (got,) = interpret(narrow_tables(module, {"take": narrow}), sample)
    (expected,) = interpret(looked_up(narrow.decode()), sample)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("kind", "numbers"), [("rows", 4), ("codebook", 32)])
def test_a_row_takes_half_a_byte_a_value_and_its_numbers(kind, numbers):
    module = narrow_tables(looked_up(table()), {"take": TABLES[kind]})
    tables = [
        node.constants[0]
        for node in read_dataflow(module).nodes
        if node.op == "take" and 0 in node.constants
    ]
    assert sum(each.nbytes for each in tables) == ROWS * (WIDTH // 2 + numbers)


def test_small_tables_and_odd_rows_are_left():
    assert float_tables(read_dataflow(looked_up(table()[:100])), 1024) == {}
    assert float_tables(read_dataflow(looked_up(table()[:, :15])), 1024) == {}
    assert list(float_tables(read_dataflow(looked_up(table())), 1024)) == ["take"]
