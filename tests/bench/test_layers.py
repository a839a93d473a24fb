"""Kernels on the roofline."""

from __future__ import annotations

import time

import pytest

from hago.hardware.host import host_spec
from hago.lower.cost import Cost
from hago.lower.instructions import reduction_instructions
from hago.lower.lower import lower
from hago.lower.profile import KernelTime
from tests.bench.inputs import draw_sample
from tests.bench.layers import to_layers
from tests.bench.overhead import measure_overhead
from tests.bench.peaks import Peaks
from tests.bench.reasons import LOW, reason
from tests.graphs import input_for, residual_network

PEAKS = Peaks({"float32": 100.0, "uint8": 400.0}, ((1_000, 200.0), (1_000_000, 10.0)))


def bound(operations: int, size: int, dtype: str, epilogue: int = 0) -> tuple[float, str]:
    found = PEAKS.bound(Cost("", operations, size, dtype, epilogue))
    return found.seconds, found.by


def test_a_kernel_that_computes_much_is_bound_by_arithmetic() -> None:
    assert bound(10**9, 1000, "float32") == (pytest.approx(0.01), "products")
    assert bound(10**9, 1000, "uint8") == (pytest.approx(0.0025), "products")


def test_an_epilogue_takes_its_time_on_the_same_ports() -> None:
    assert bound(10**9, 1000, "uint8", 10**9) == (pytest.approx(0.0025 + 0.02), "epilogue")


def test_a_kernel_that_reads_much_is_bound_by_the_memory_that_holds_it() -> None:
    assert bound(0, 1_000, "float32") == (pytest.approx(1_000 / 200e9), "memory")
    assert bound(0, 100_000, "float32") == (pytest.approx(100_000 / 10e9), "memory")
    assert bound(0, 10**9, "float32") == (pytest.approx(0.1), "memory")


def test_a_layer_has_its_share_and_its_fraction_of_the_roofline() -> None:
    times = [KernelTime("conv2d1", 0.03, 2), KernelTime("vm.builtin.reshape", 0.01, 4)]
    known = {"conv2d1": Cost("float32 56x56x64 -> 64, 3x3", 10**9, 1000, "float32")}
    conv, reshape = to_layers(times, known, PEAKS)
    assert (conv.share, conv.gops, conv.roofline) == pytest.approx((0.75, 1 / 0.015, 10 / 15))
    assert (reshape.calls, reshape.workload, reshape.roofline) == (4, "", 0)


def test_tokens_are_in_the_vocabulary_and_every_token_takes_part() -> None:
    sample = draw_sample({"input_ids": (1, 8), "attention_mask": (1, 8), "pixels": (1, 3)}, 0)
    assert sample["input_ids"].max() < 30522
    assert sample["attention_mask"].tolist() == [[1] * 8]
    assert sample["pixels"].dtype == "float32"


def test_a_model_whose_kernels_do_nothing_is_what_runs_beside_them() -> None:
    module = residual_network()
    spec = host_spec()
    lowered = lower(module, spec)
    overhead = measure_overhead(lowered, spec, [input_for(module)["x"]], 0.05, time.thread_time)
    assert 0 < overhead.empty_ms < overhead.run_ms
    assert overhead.share == overhead.empty_ms / overhead.run_ms


def test_what_is_far_below_the_roofline_has_a_reason() -> None:
    times = [KernelTime("conv2d", 0.011, 1), KernelTime("softmax", 0.1, 1)]
    known = {
        "conv2d": Cost("float32 56x56x64 -> 64, 3x3", 10**9, 1000, "float32"),
        "softmax": Cost("591 rows of 197", 10**6, 1000, "float32"),
    }
    conv, softmax = to_layers(times, known, PEAKS)
    assert conv.roofline > LOW
    assert not conv.why
    assert softmax.roofline < LOW
    assert "wait for each other's sums" in softmax.why


def test_a_kernel_of_which_nothing_is_known_is_said_to_be_the_first_place_to_look() -> None:
    assert reason("conv2d", "uint8 7x7x64 -> 64, 1x1", 50.0).startswith("no reason is known")
    assert reason("conv2d", "uint8 7x7x64 -> 64, 1x1", 2.0).startswith("shorter than")


def test_the_passes_of_a_softmax_count_as_instructions() -> None:
    # exp alone: a polynomial of degree 7 and its reduction
    assert reduction_instructions("softmax") > 12
    assert reduction_instructions("layer_norm") == 6
    assert reduction_instructions("rms_norm") == 3
