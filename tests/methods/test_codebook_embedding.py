"""codebook_embedding: 16 values of its own for each row."""

import numpy as np

from hago.methods.codebook_embedding import clustered_rows
from hago.methods.greedy_embedding import greedy_rows
from tests.methods.lookup import table


def test_clusters_lose_less_than_an_even_grid():
    rows = np.random.default_rng(0).laplace(size=(64, 384)).astype(np.float32)
    even = np.square(greedy_rows(rows, 200, 0.16).decode() - rows).sum(axis=1)
    clustered = np.square(clustered_rows(rows, 16).decode() - rows).sum(axis=1)
    assert np.all(clustered < even)
    # The best 16 levels have 18.13 dB of Laplace values (Jayant and Noll, Digital Coding of
    # Waveforms, table 4.7); those that are fitted to the values at hand have no less.
    assert np.square(rows).sum() / clustered.sum() > 10**1.813


def test_rows_that_an_even_grid_holds_come_out_exactly():
    grid = np.arange(16, dtype=np.float32)
    rows = np.stack([grid, grid * 0.5 - 3])
    np.testing.assert_array_equal(clustered_rows(rows, 16).decode(), rows)


def test_more_rounds_never_lose_more():
    rows = table()[:200]
    errors = [np.square(clustered_rows(rows, n).decode() - rows).sum() for n in (0, 2, 16)]
    assert errors == sorted(errors, reverse=True)
