"""centred_rows: what a bias can take over, and what a position counts."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hago.methods.centred_rows import CentredRows  # noqa: E402
from hago.methods.layer_rows import LayerRows  # noqa: E402

GROUPS, ROWS, K = 3, 200, 4


def layer(finish=lambda sums: sums):
    """A depthwise layer: a group has one output."""
    random = torch.Generator().manual_seed(0)
    exact = 5 + torch.randn((GROUPS, ROWS, K), generator=random)
    weight = torch.randn((GROUPS, 1, K), generator=random)
    rows = LayerRows(exact, exact.round(), lambda w: w, lambda rows: rows, finish, finish)
    return rows, weight


def test_rows_are_about_their_means_where_there_is_a_bias():
    rows, weight = layer()
    for has_bias in (True, False):
        centred = CentredRows.of(rows, weight, has_bias=has_bias).rows
        for values in (centred.exact, centred.quantized):
            assert (float(values.mean(1).abs().max()) < 1e-4) == has_bias


def test_the_shift_is_the_mean_of_what_rounding_does():
    rows, weight = layer()
    shift = CentredRows.of(rows, weight, has_bias=True).shift(weight, weight.round())
    error = (rows.exact * weight).sum(2) - (rows.quantized * weight.round()).sum(2)
    np.testing.assert_allclose(shift, error.mean(1), rtol=1e-3)


def centred_relu(sums):
    return torch.relu(about_the_mean(sums))


def about_the_mean(sums):
    return sums - sums.detach().mean(1, keepdim=True)


def test_what_a_relu_cuts_off_counts_little():
    rows, weight = layer(centred_relu)
    roots = CentredRows.of(rows, weight, has_bias=False).rows.exact / rows.exact
    sums = [about_the_mean((x * weight).sum(2, keepdim=True)) for x in (rows.exact, rows.quantized)]
    cut, kept = (sums[0] < 0) & (sums[1] < 0), (sums[0] > 0) & (sums[1] > 0)
    for group in range(GROUPS):
        least = float(roots[group][kept[group].squeeze(1)].min())
        assert least > 4 * float(roots[group][cut[group].squeeze(1)].max())


def test_of_outputs_that_share_moments_every_row_counts_the_same():
    rows, weight = layer(centred_relu)
    wide = torch.cat([weight, -weight], 1)
    np.testing.assert_array_equal(CentredRows.of(rows, wide, has_bias=False).rows.exact, rows.exact)
