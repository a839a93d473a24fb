"""os_plus: channels that stand out are scaled down before they are quantized."""

import numpy as np
import pytest
from tvm import relax

from hago.annotate import annotate
from hago.annotate.narrow import MACHINE_FORMAT, WeightFormat
from hago.calibrate.channels import ChannelObserver
from hago.dataflow import read_dataflow
from hago.methods.os_plus import OsPlus
from tests.graphs import Builder, machine

RANDOM = np.random.default_rng(0)
EVEN = RANDOM.normal(size=(256, 8)).astype(np.float32)
ANY = OsPlus(gain=1.0)  # changes whatever gets better at all
OUTLIER = EVEN * np.float32([1, 1, 1, 50, 1, 1, 1, 1])


def graph(reader="matmul"):
    """relu(x) is read by one product."""
    b = Builder(1, 4, 4, 8) if reader == "conv" else Builder(1, 4, 8)
    relu = b.emit("relu", relax.op.nn.relu(b.input))
    if reader == "conv":
        return annotate(b.done(b.conv("conv2d", relu, 8, padding=1, groups=8)), machine())
    return annotate(b.done(b.dense("matmul", relu, 4)), machine())


def channels(values):
    observer = ChannelObserver()
    observer.observe(values)
    return {"relu": observer.stats()}


def scales(module):
    """What is multiplied by before the product."""
    return [
        node.constants[1]
        for node in read_dataflow(module).nodes
        if node.op == "multiply" and node.constants[1].size > 1
    ]


@pytest.mark.parametrize("reader", ["matmul", "conv"])
def test_the_channel_that_stands_out_is_scaled_down_most(reader):
    (inverse,) = scales(ANY.reshape(graph(reader), channels(OUTLIER), MACHINE_FORMAT))
    assert inverse.argmin() == 3
    assert inverse.max() == 1.0


def test_even_channels_are_left_alone():
    plain = graph()
    assert OsPlus().reshape(plain, channels(np.abs(EVEN)), MACHINE_FORMAT) is plain.module


@pytest.mark.parametrize("rows", [1, 2, 8, 16])
def test_few_rows_do_not_make_channels_stand_out(rows):
    """Some of many even channels reach further than others by chance; on new rows others do."""
    b = Builder(1, 4, 512)
    relu = b.emit("relu", relax.op.nn.relu(b.input))
    wide = annotate(b.done(b.dense("matmul", relu, 4)), machine())
    seen = channels(np.random.default_rng(1).normal(size=(rows, 512)).astype(np.float32))
    assert OsPlus().reshape(wide, seen, MACHINE_FORMAT) is wide.module


def test_few_rows_show_a_channel_that_stands_out():
    (inverse,) = scales(OsPlus().reshape(graph(), channels(OUTLIER[:16]), MACHINE_FORMAT))
    assert inverse.argmin() == 3


def test_a_channel_far_from_zero_is_shifted():
    far = (EVEN + np.float32([0, 0, 0, 60, 0, 0, 0, 0])).astype(np.float32)
    module = OsPlus().reshape(graph(), channels(far), MACHINE_FORMAT)
    shifts = [n.constants[1] for n in read_dataflow(module).nodes if n.op == "add"]
    # One addition before the product, (-z / s), and one after it, z w.
    assert [shift.size for shift in shifts] == [8, 4]
    assert np.abs(shifts[0]).argmax() == 3


def test_the_small_half_of_the_channels_is_never_scaled():
    steep = EVEN * (2.0 ** np.arange(8, dtype=np.float32))
    (inverse,) = scales(ANY.reshape(graph("conv"), channels(steep), MACHINE_FORMAT))
    assert (inverse == 1.0).sum() >= 4


def test_a_tensor_that_is_also_needed_elsewhere_as_codes_is_no_candidate():
    b = Builder(1, 4, 4, 8)
    first = b.conv("conv2d", b.input, 8, padding=1)
    second = b.conv("conv2d_1", first, 8, padding=1)
    module = b.done(b.conv("conv2d_2", b.emit("add", relax.op.add(first, second)), 4, kernel=1))
    assert OsPlus().tensors(annotate(module, machine())) == ("add",)


def largest_scale(bits, group=None):
    """How much the channel that stands out by 50 is scaled down."""
    form = WeightFormat(bits, group)
    module = OsPlus(gain=1.0).reshape(graph(), channels(OUTLIER), form)
    return max((1 / inverse.min() for inverse in scales(module)), default=1.0)


def test_narrow_weights_take_less_of_the_range():
    assert largest_scale(3) < largest_scale(8)


def test_groups_keep_a_scaled_weight_from_the_others():
    assert largest_scale(3) < largest_scale(3, group=2)
