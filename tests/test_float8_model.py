"""A machine that computes in 8-bit floats, as an executable model: what is stored, what runs."""

from dataclasses import replace

import numpy as np
import pytest

import hago
from hago.accuracy import sqnr_db
from hago.annotate import annotate, choose_strategy
from hago.annotate.constants import constant_edges
from hago.annotate.narrow import WeightFormat, narrow_weights
from hago.codegen.epilogue import Epilogue, Step
from hago.codegen.kernels.elementwise import build_elementwise
from hago.codegen.workload import Elementwise
from hago.demo import digits_calibration, digits_model, digits_test
from hago.float8 import FORMATS, KINDS, decode_float8, encode_float8, round_float8
from hago.hardware.host import host_spec
from hago.hardware.load import load_spec
from hago.lower.callable import compile_callable
from hago.lower.lower import lower
from hago.lower.stored import constant_bytes
from hago.methods.assign import assign_numbers, weight_range
from hago.pipeline import Options, compile_model
from hago.realize import interpret, realize
from hago.scheme import E4M3, INT4, PerGroup, QuantScheme, TensorQuant, fill_scheme
from tests.codegen.isa import MACHINES, machine, run
from tests.graphs import Builder, all_values, input_for

SPEC = load_spec("gaudi-fp8")
STORED = QuantScheme(INT4, PerGroup(0, 32), True, E4M3)


def edge_values(kind):
    """Every value of the format, what lies in the middle of two, and what lies next to these."""
    values = decode_float8(np.arange(FORMATS[kind].nan, dtype=np.uint8), kind)
    values = values[np.isfinite(values) & (values <= FORMATS[kind].largest)].astype(np.float64)
    middles = ((values[1:] + values[:-1]) / 2).astype(np.float32)
    near = [np.nextafter(middles, np.float32(side)) for side in (-np.inf, np.inf)]
    positive = np.concatenate([values.astype(np.float32), middles, *near])
    return np.concatenate([positive, -positive])


@pytest.mark.parametrize("kind", FORMATS)
def test_rounding_is_encoding_and_decoding(kind):
    values = np.append(edge_values(kind), [1e9, -1e9]).astype(np.float32)
    decoded = decode_float8(encode_float8(values, kind), kind)
    assert np.array_equal(round_float8(values, kind), decoded)


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize(("op", "kind"), [("float8_e4m3fn", "float8_e4m3"),
                                          ("float8_e5m2", "float8_e5m2")])  # fmt: skip
def test_vectors_round_alike(isa, op, kind):
    values = edge_values(kind)
    epilogue = Epilogue("float32", "float32", (), (Step(op, (0,)),))
    kernel = build_elementwise(Elementwise(values.shape), epilogue, machine(isa))
    assert np.array_equal(run(kernel, isa, [values], values), round_float8(values, kind))


@pytest.mark.parametrize("isa", MACHINES)
@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_vectors_encode_and_decode_alike(isa, name, kind):
    beyond = np.array([1e9, np.inf, np.nan, -1e9, -np.inf, -0.0], np.float32)
    values = np.concatenate([edge_values(kind), beyond])
    encode = Epilogue("float32", name, (), (Step(f"encode_{name}", (0,)),))
    kernel = build_elementwise(Elementwise(values.shape), encode, machine(isa))
    codes = run(kernel, isa, [values], values.astype(name))
    assert np.array_equal(codes.view(np.uint8), encode_float8(values, kind))
    every = np.arange(256, dtype=np.uint8)
    finite = every[~np.isinf(decode_float8(every, kind))]
    decode = Epilogue(name, "float32", (), (Step(f"decode_{name}", (0,)),))
    kernel = build_elementwise(Elementwise(finite.shape, name), decode, machine(isa))
    found = run(kernel, isa, [finite.view(name)], np.zeros(finite.shape, np.float32))
    assert np.array_equal(found, decode_float8(finite, kind), equal_nan=True)


def test_stored_codes_cannot_overflow_what_they_are_computed_in():
    weight = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    quant = fill_scheme(STORED, *weight_range(weight, STORED))
    lowest = quant.decode(np.full((64, 8), -8, np.int8))
    assert np.all(np.abs(lowest) <= FORMATS["float8_e4m3"].largest * quant.common_scale)
    assert np.all(lowest < 0)


def test_the_common_scale_is_the_least_power_of_two():
    quant = TensorQuant(STORED, np.full((1, 1), 56.0, np.float32), np.zeros((1, 1), np.int32))
    assert quant.common_scale == 1.0  # 8 * 56 = 448, the largest e4m3
    wider = replace(quant, scale=np.full((1, 1), 56.1, np.float32))
    assert wider.common_scale == 2.0


def test_only_integers_are_stored_for_a_float():
    with pytest.raises(ValueError, match="not computed in"):
        QuantScheme(E4M3, computed_in=E4M3)
    with pytest.raises(ValueError, match="not computed in"):
        QuantScheme(INT4, computed_in=INT4)


def dense():
    """Two layers of [1, 16, 64] by [64, 64]."""
    builder = Builder(1, 16, 64)
    return builder.done(builder.dense("second", builder.dense("first", builder.input, 64), 64))


def narrow(module, group):
    graph, values = annotate(module, SPEC), all_values(module, input_for(module))
    form = WeightFormat(4, group, ends=True)
    strategy = narrow_weights(graph, choose_strategy(graph, "int8"), form)
    return assign_numbers(
        graph, strategy, lambda src, _: (float(values[src].min()), float(values[src].max())),
        constant_edges(graph),
    )  # fmt: skip


@pytest.mark.parametrize("group", [None, 16, 32])
def test_the_library_holds_codes_and_scales(group):
    module = dense()
    model = narrow(module, group)
    codes, scales = 2 * 64 * 64 // 2, 2 * 64 * (64 // group if group else 1) * 4
    numbers = 3 * 4  # of the input, of the sums between the layers, of the last sums
    assert constant_bytes(lower(realize(model), SPEC)) == codes + scales + numbers


@pytest.mark.parametrize("group", [None, 16, 32])
def test_kernels_equal_the_reference_interpreter(group):
    module = dense()
    realized, data = realize(narrow(module, group)), input_for(module)
    (expected,) = interpret(realized, data)
    (actual,) = compile_callable(realized, SPEC)(data).values()
    # Products of e4m3 are exact in float32; only the order of 64 sums differs, and codes at ties.
    assert sqnr_db(expected, actual) > 60


def test_weights_of_eight_bits_stay_floats_of_the_machine():
    module = dense()
    graph = annotate(module, SPEC)
    strategy = choose_strategy(graph, "int8")
    assert narrow_weights(graph, strategy, WeightFormat(8)) == strategy
    assert narrow_weights(graph, strategy, WeightFormat(6, ends=True)) == strategy  # it stores 4


def test_an_artifact_runs_here_and_says_what_it_is(tmp_path):
    options = Options("int8", "min_max", weights=WeightFormat(4))
    data, folder = digits_calibration()[:32], tmp_path / "artifact"
    report = compile_model(digits_model(), "gaudi-fp8", data, folder, options)
    artifact = hago.load(folder)
    assert artifact.manifest.machine.name == "gaudi-fp8"
    assert artifact.manifest.machine.model_on == report.model_on == host_spec().name
    assert report.compiled.latency_ms is None  # it would be this computer's, not the machine's
    images, labels = digits_test()
    found = [next(iter(artifact.run({"image": image[None]}).values())) for image in images[:200]]
    assert np.mean(np.concatenate(found).argmax(axis=1) == labels[:200]) > 0.9
