"""x86-avx2: VPMADDUBSW saturates, so two of its weights are bound together, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest
from tvm import relax

from hago.annotate import annotate
from hago.codegen.select import choose_dot
from hago.codegen.workload import Matmul
from hago.hardware.host import cpu_features
from hago.hardware.load import load_spec
from hago.hardware.spec import HardwareSpec
from hago.hardware.words import machine, memory, op, s8, s16, saturating, u8
from hago.lower.callable import compile_callable
from hago.lower.group import find_groups
from hago.lower.select import machine_of
from hago.lower.view import view_of
from hago.pairs import are_paired
from hago.realize import realize
from hago.scheme import INT7, INT8, INT8_PAIRS, UINT8
from tests.graphs import Builder, input_for, quantized, residual_network

AVX2 = load_spec("x86-avx2")


def pair_of_products(data: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """VPMADDUBSW (SDM vol. 2): u8 x s8, neighbours added with signed saturation to 16 bits."""
    products = data.astype(np.int32) * weight.astype(np.int32)
    return np.clip(products[..., ::2] + products[..., 1::2], -(2**15), 2**15 - 1)


def extremes(dtype):
    low, high = dtype.code_range
    return np.array([(a, b) for a in (low, high) for b in (low, high)])


@pytest.mark.parametrize(("weight", "is_exact"), [(INT7, True), (INT8, False)])
def test_pairs_are_exact_for_seven_bits_and_not_for_eight(weight, is_exact):
    data = np.full((4, 2), UINT8.code_range[1])
    codes = extremes(weight)
    exact = (data * codes).sum(axis=1, keepdims=True)
    assert np.array_equal(pair_of_products(data, codes), exact) is is_exact


def test_pairs_are_exact_for_all_codes_within_the_bound_and_not_beyond():
    low, high = INT8_PAIRS.code_range
    first, second = (c.ravel() for c in np.meshgrid(*[np.arange(low, high + 1)] * 2))
    codes = np.stack([first, second], axis=1)
    inside = np.array([are_paired(pair[None]) for pair in codes])
    for data in ([255, 255], [255, 0], [0, 255]):  # the extremes of what is linear in the data
        exact = (codes * data).sum(axis=1)
        same = pair_of_products(np.array(data), codes)[:, 0] == exact
        assert same[inside].all()
        if min(data):
            assert not same[~inside].any()


def dense_model(columns=40):
    b = Builder(3, 64)
    return b.done(b.dense("matmul", b.input, columns))


def weight_schemes(spec: HardwareSpec):
    graph = annotate(dense_model(), spec)
    return [s for e, schemes in graph.choices.items() if e.is_constant for s in schemes]


def test_pairs_are_preferred_and_eight_bits_are_a_choice():
    preferred, *others = weight_schemes(AVX2)
    assert preferred.dtype == INT8_PAIRS
    assert INT8 in {scheme.dtype for scheme in others}


def test_saturating_pairs_with_eight_bit_weights_are_refused_with_the_numbers():
    row = op("matmul", u8.asymmetric, s8, sums_in=saturating(s16, terms=2), gives=(u8,),
             by="vpmaddubsw")  # fmt: skip
    spec = machine("careless", target={"kind": "llvm"}, memory=memory(l1="1K", l2="1K"), ops=[row])
    graph = annotate(dense_model(), spec)
    reasons = {str(edge): reason for edge, reason in graph.reasons.items()}
    reason = reasons["matmul.weight -> matmul[1]"]
    assert weight_schemes(spec) == []
    assert "2 products reach 65280, above 32767 of the int16 accumulator" in reason.text
    assert reason.source.startswith(__file__)


def kernels_of(model):
    """The instructions of the model's matrix products."""
    view, machine_ = view_of(realize(model)), machine_of(AVX2)
    works = [group.workload for group in find_groups(view)]
    return [choose_dot(w, machine_).name for w in works if isinstance(w, Matmul)]


def test_narrow_weights_get_the_saturating_instruction_and_wide_ones_do_not():
    module = dense_model()
    model = quantized(module, AVX2, input_for(module))
    assert kernels_of(model) == ["vpmaddubsw"]
    exact = replace(AVX2, ops=tuple(row for row in AVX2.ops if not row.accum.saturates))
    assert kernels_of(quantized(module, exact, input_for(module))) == ["vpmaddwd"]


def worst_case_model(sign):
    """Weights at the end of their range, activations at the top of theirs."""
    b = Builder(1, 64)
    weight = relax.const(np.full((64, 24), sign * 3.0, np.float32))
    return b.done(b.emit("matmul", relax.op.matmul(b.input, weight)))


def only_saturating(spec: HardwareSpec) -> HardwareSpec:
    """``spec`` without other ways to multiply bytes by constants."""
    def is_other(row):
        return row.op in ("conv2d", "matmul") and row.inputs[0].dtype == UINT8

    kept = (row for row in spec.ops if row.accum.saturates or not is_other(row))
    return replace(spec, ops=tuple(kept))


@pytest.mark.parametrize("name", ["x86-avx2", "x86-avx512"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_worst_operands_do_not_saturate(sign, name):
    spec = only_saturating(load_spec(name))
    missing = set(spec.features) - cpu_features()
    if missing:
        pytest.skip(f"this CPU has no {', '.join(missing)}: {name} kernels cannot run here")
    module = worst_case_model(sign)
    inputs = {"x": np.full((1, 64), 7.0, np.float32)}
    model = quantized(module, spec, inputs)
    (actual,) = compile_callable(realize(model), spec)(inputs).values()
    # Both ranges end in a code, so nothing is rounded: 64 products of 7 and 3 are exact, but for
    # the float32 rounding of the two scales and of their product with the sum.
    exact = sign * 64 * 7.0 * 3.0
    assert np.allclose(actual, exact, rtol=4 * np.finfo(np.float32).eps, atol=0)


def test_every_product_of_a_network_has_paired_weights():
    model = quantized(residual_network(), AVX2, input_for(residual_network()))
    dense = {str(e.dst): s.dtype for e, s in model.strategy.items() if e.is_constant}
    depthwise = dense.pop("conv2d_1")
    assert set(dense.values()) == {INT8_PAIRS}
    assert depthwise == INT8
