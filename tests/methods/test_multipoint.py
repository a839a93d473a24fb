"""multipoint: channels as sums of low-bit vectors."""

import numpy as np
import pytest
import tvm

from hago.accuracy import sqnr_db
from hago.annotate import annotate
from hago.annotate.narrow import WeightFormat, column_length
from hago.calibrate import load_data
from hago.clock import Clock
from hago.dataflow import read_dataflow
from hago.hardware.load import load_spec
from hago.methods.method import Widening, find_methods
from hago.methods.multipoint import Multipoint, output_power
from hago.methods.weight_mse import best_scales
from hago.model import input_specs
from hago.plan import Quantizer
from hago.realize import interpret
from hago.scheme import DType, PerAxis, QuantScheme, fill_scheme
from tests.graphs import machine, residual_network
from tests.methods.dense import about_zero
from tests.methods.narrowed import bottleneck, samples

ROWS = np.random.default_rng(0).normal(size=(24, 16))
WHITE = np.eye(16, dtype=np.float32)[np.newaxis]  # inputs of equal power that are independent
NARROWED = WeightFormat(4, ends=True)
NARROW = QuantScheme(DType("int", 4), PerAxis(0))


def vectors_of(points, count):
    """The vectors of each channel, [turns, N, K]."""
    found = np.zeros((count, *points.first.shape))
    found[0] = points.first
    found[points.turns + 1, points.channels] = points.more
    return found


def test_one_vector_is_rounding_to_nearest_by_the_best_scale():
    rows = np.abs(ROWS)  # codes of 4 bits go down to -8, the paper's to -7
    method = Multipoint()
    quant = best_scales(rows.astype(np.float32), NARROW, np.linspace(1, 0.3, 36))
    nearest = quant.decode(quant.encode(rows.astype(np.float32)))
    # Both compute in float32 at one place: scales of 2^-24 relative.
    np.testing.assert_allclose(method.nearest(rows, NARROW), nearest, atol=2**-22 * rows.max())


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_each_further_vector_divides_the_error(bits):
    method, rest = Multipoint(), ROWS
    scheme = QuantScheme(DType("int", bits), PerAxis(0))
    last = 2 ** (bits - 1) - 1
    for _ in range(6):
        before, rest = rest, rest - method.nearest(rest, scheme)
        # With the scale that covers a row, no weight is further than half a step from its code.
        bound = rest.shape[1] * np.square(np.abs(before).max(axis=1) / (2 * last))
        errors = np.square(rest).sum(axis=1)
        assert (errors <= bound * (1 + 1e-9)).all()
        assert (errors <= np.square(before).sum(axis=1)).all()


def test_the_vectors_add_up_to_the_weights():
    points = Multipoint(points=4).points_of(ROWS, WHITE, NARROW, 1e-6)
    assert len(points.channels) > len(ROWS)
    np.testing.assert_allclose(vectors_of(points, 4).sum(axis=0), ROWS, atol=4 * 2**-23)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_all_vectors_but_the_last_are_codes_of_the_scale_that_covers_them(bits, symmetric):
    scheme = QuantScheme(DType("int", bits), PerAxis(0), symmetric)
    points = Multipoint(points=3).points_of(ROWS, WHITE, scheme, 1e-6)
    for rows in vectors_of(points, 3)[:2].astype(np.float32):
        quant = fill_scheme(scheme, rows.min(axis=1), rows.max(axis=1))
        found = quant.decode(quant.encode(rows))
        np.testing.assert_allclose(found, rows, rtol=2**-22)


def test_channels_whose_error_is_above_the_bound_get_another_vector():
    error = output_power(ROWS - Multipoint().nearest(ROWS, NARROW), WHITE)
    points = Multipoint(points=2).points_of(ROWS, WHITE, NARROW, float(np.median(error)))
    assert sorted(points.channels) == sorted(np.flatnonzero(error > np.median(error)))


def test_what_counts_is_the_error_of_the_output():
    """Inputs that are always equal: errors of opposite signs cancel."""
    same = np.ones((1, 16, 16), np.float32)
    error = ROWS - Multipoint().nearest(ROWS, NARROW)
    np.testing.assert_allclose(output_power(error, same), np.square(error.sum(axis=1)), rtol=1e-5)


def test_with_a_loose_bound_and_with_one_vector_nothing_changes():
    graph = annotate(bottleneck(), machine())
    assert isinstance(Multipoint(), Widening)
    moments = moments_of(graph)
    assert Multipoint(bound=1e9).widen(graph, moments, NARROWED) is graph.module
    assert Multipoint(bound=0.0, points=1).widen(graph, moments, NARROWED) is graph.module


def moments_of(graph):
    """Of inputs of equal power that are independent, for each layer."""
    found = {}
    for node in read_dataflow(graph.module).nodes:
        if node.op == "nn.conv2d":
            _, *kernel = node.constants[1].shape
            length = int(np.prod(kernel))
            one = np.eye(length, dtype=np.float32)
            found[node.name] = about_zero(np.stack([one] * int(node.call.attrs.groups)))
    return found


def test_a_tighter_bound_costs_more_weights():
    graph = annotate(bottleneck(), machine())
    wide = {
        bound: Multipoint(bound=bound).widen(graph, moments_of(graph), NARROWED)
        for bound in (1e-4, 1e-2, 1e-1)
    }
    sizes = [stored(module) for module in wide.values()]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1] >= stored(graph.module)


def stored(module):
    """Weights of all layers."""
    nodes = read_dataflow(module).nodes
    return sum(node.constants[1].size for node in nodes if node.op == "nn.conv2d")


def test_matrices_in_groups_have_scales_enough():
    graph = annotate(residual_network(), machine())
    length = column_length(read_dataflow(graph.module).by_name()["matmul"])
    moments = {"matmul": about_zero(np.eye(length, dtype=np.float32)[np.newaxis])}
    method = Multipoint(bound=0.0)
    for group, is_wider in ((None, True), (length, False)):
        module = method.widen(graph, moments, WeightFormat(4, group, ends=True))
        assert (module is not graph.module) == is_wider


def test_layers_that_keep_8_bits_keep_their_channels():
    """The first and the last, which read six channels; the two between them get more."""
    graph = annotate(bottleneck(), machine())
    # Codes of 8 bits leave 1/256 of the noise that those of 4 bits leave, which is above 1e-3.
    module = Multipoint(bound=1e-3).widen(graph, moments_of(graph), WeightFormat(4))
    shapes = [n.constants[1].shape for n in read_dataflow(module).nodes if n.op == "nn.conv2d"]
    assert [shape[1:] for shape in shapes].count((1, 1, 6)) == 2
    assert len(shapes) > 4


@pytest.fixture(scope="module")
def fidelities():
    """SQNR in dB of the integer network with weights of 3 bits, without and with the method."""
    names = {"hago.input_names": ["x"], "hago.output_names": ["y"]}
    module = tvm.IRModule({"main": bottleneck()["main"].with_attrs(names)})
    spec = load_spec("x86-vnni")
    data = load_data(samples(module), input_specs(module))
    unseen = samples(module, seed=2)
    exact = np.stack([interpret(module, each)[0] for each in unseen])
    found = []
    for recipe in ("mse,weight_mse", "multipoint(bound=0.01),mse,weight_mse"):
        quantizer = Quantizer(
            module, spec, data, find_methods(recipe), Clock(), WeightFormat(3)
        )
        (plan,) = quantizer.plans("int8")
        actual = np.stack([interpret(plan.module, each)[0] for each in unseen])
        found.append(sqnr_db(exact.astype(np.float64), actual.astype(np.float64)))
    return found


def test_the_integer_network_wins_what_the_paper_promises(fidelities):
    nearest, several = fidelities
    # Two vectors of 3 bits round by a sixth of the step: what is left is of the activations.
    assert several > nearest + 3
