"""Relay text and parameters, as old TVM saved them."""

import base64
import json
import struct

import numpy as np
import pytest

from hago.errors import ModelError
from hago.frontend.relay import import_relay
from hago.frontend.relay_arrays import read_array, read_named_arrays
from hago.frontend.relay_text import Call, Local, Meta, Scalar, parse_relay, scalar
from hago.prepare import prepare
from hago.realize import interpret


def blob(array):
    """An array as NDArray::Save wrote it."""
    kind = {"i": 0, "u": 1, "f": 2}[array.dtype.kind]
    head = struct.pack("<QQiii", 0xDD5E40F096B4A13F, 0, 1, 0, array.ndim)
    head += struct.pack("<BBH", kind, array.dtype.itemsize * 8, 1)
    return head + struct.pack(f"<{array.ndim}qq", *array.shape, array.nbytes) + array.tobytes()


def saved(arrays):
    """A dictionary as save_param_dict wrote it."""
    head = struct.pack("<QQQ", 0xF7E58D4F05049CB7, 0, len(arrays))
    names = b"".join(struct.pack("<Q", len(n)) + n.encode() for n in arrays)
    return head + names + struct.pack("<Q", len(arrays)) + b"".join(map(blob, arrays.values()))


def with_metadata(text, arrays):
    """``text`` with constants as TVM's JSON graph had them."""
    nodes = [{"type_key": ""}]
    nodes.append({"type_key": "Map", "keys": ["relay.Constant"], "data": [2]})
    nodes.append({"type_key": "Array", "data": [3 + i for i in range(len(arrays))]})
    nodes += [
        {"type_key": "relay.Constant", "attrs": {"data": str(i)}} for i in range(len(arrays))
    ]
    blobs = [base64.b64encode(blob(array)).decode() for array in arrays]
    return text + "\n#[metadata]\n" + json.dumps({"root": 1, "nodes": nodes, "b64ndarrays": blobs})


HEAD = '#[version = "0.0.5"]\n'
NETWORK = (
    HEAD
    + """def @main(%data: Tensor[(1, 2, 4, 4), float32] /* ty=x */,
 %w: Tensor[(3, 2, 3, 3), float32], %gamma: Tensor[(3), float32],
 %beta: Tensor[(3), float32], %mean: Tensor[(3), float32],
 %var: Tensor[(3), float32], %fc: Tensor[(5, 3), float32])
 -> Tensor[(1, 5), float32] {
  %0 = nn.conv2d(%data, %w, padding=[1, 1, 1, 1], channels=3, kernel_size=[3, 3]) /* ty=y */;
  %1 = nn.batch_norm(%0, %gamma, %beta, %mean, %var, epsilon=0.001f);
  %2 = %1.0;
  %3 = nn.relu(%2);
  %4 = nn.global_avg_pool2d(%3);
  %5 = nn.batch_flatten(%4);
  nn.dense(%5, %fc, units=5)
}
"""
)


def parameters():
    random = np.random.default_rng(0)
    shapes = {"w": (3, 2, 3, 3), "gamma": 3, "beta": 3, "mean": 3, "var": 3, "fc": (5, 3)}
    return {name: random.uniform(0.5, 1.5, s).astype("float32") for name, s in shapes.items()}


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "net.txt"
    path.write_text(NETWORK)
    (tmp_path / "net.params").write_bytes(saved(parameters()))
    return path


def run(module, data):
    name = str(module["main"].params[0].name)
    return interpret(prepare(module), {name: data})[0]


def test_a_network_computes_what_its_text_says(network):
    data = np.random.default_rng(1).normal(size=(1, 2, 4, 4)).astype("float32")
    p = parameters()
    padded = np.pad(data, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    conv = np.einsum("nchwyx,ocyx->nohw", windows, p["w"])
    column = {k: p[k].reshape(-1, 1, 1) for k in ("gamma", "beta", "mean", "var")}
    normal = (conv - column["mean"]) / np.sqrt(column["var"] + 0.001)
    normal = normal * column["gamma"] + column["beta"]
    expected = np.maximum(normal, 0).mean((2, 3)) @ p["fc"].T
    np.testing.assert_allclose(run(import_relay(network), data), expected, rtol=1e-5)


def test_inputs_keep_their_names_and_parameters_become_constants(network):
    main = import_relay(network)["main"]
    assert list(main.attrs["hago.input_names"]) == ["data"]
    assert list(main.attrs["hago.output_names"]) == ["output"]
    assert len(main.params) == 1


def test_an_integer_graph_keeps_its_meaning(tmp_path):
    """A quantized layer as relay.quantize left it: shifts with rounding, clipped to 127."""
    text = (
        HEAD
        + """def @main(%data: Tensor[(1, 4), float32]) -> Tensor[(1, 3), float32] {
  %0 = multiply(%data, 16f);
  %1 = clip(round(%0), a_min=-127f, a_max=127f);
  %2 = cast(%1, dtype="int8");
  %3 = nn.dense(%2, meta[relay.Constant][0], units=None, out_dtype="int32");
  %4 = right_shift(add(%3, 32 /* ty=int32 */), 6);
  %5 = clip(%4, a_min=-127f, a_max=127f);
  multiply(cast(%5, dtype="float32"), 0.0625f)
}
"""
    )
    weight = np.random.default_rng(2).integers(-127, 128, (3, 4)).astype(np.int8)
    path = tmp_path / "net.txt"
    path.write_text(with_metadata(text, [weight]))
    data = np.float32([[0.1, -7.9, 3.03, 20.0]])
    codes = np.clip(np.rint(data * 16), -127, 127).astype(np.int32)
    expected = np.clip((codes @ weight.T.astype(np.int32) + 32) >> 6, -127, 127) * 0.0625
    np.testing.assert_array_equal(run(import_relay(path), data), expected.astype(np.float32))


@pytest.mark.parametrize(("total", "mean"), [(7, 1), (-7, -1), (8, 2), (-8, -2)])
def test_a_mean_of_integers_is_divided_towards_zero(tmp_path, total, mean):
    path = tmp_path / "net.txt"
    path.write_text(
        HEAD
        + """def @main(%x: Tensor[(1, 1, 2, 2), int32]) -> Tensor[(1, 1, 1, 1), int32] {
  nn.global_avg_pool2d(%x)
}"""
    )
    data = np.int32([total, 0, 0, 0]).reshape(1, 1, 2, 2)
    assert run(import_relay(path), data).item() == mean


def test_all_operators_without_a_row_are_named_at_once(network):
    network.write_text(NETWORK.replace("nn.relu", "nn.rulu").replace("nn.dense", "nn.tense"))
    with pytest.raises(ModelError, match=r"nn\.rulu \(line 10\), nn\.tense \(line 13\)"):
        import_relay(network)


def test_a_parameter_of_another_shape_is_named(network):
    wrong = {**parameters(), "fc": np.zeros((5, 4), np.float32)}
    network.with_suffix(".params").write_bytes(saved(wrong))
    with pytest.raises(ModelError, match="'fc'"):
        import_relay(network)


@pytest.mark.parametrize("size", [0, 7, 30, 100, 500])
def test_parameters_that_are_cut_off_are_refused(network, size):
    path = network.with_suffix(".params")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelError, match=r"net\.params"):
        import_relay(network)


@pytest.mark.parametrize("size", range(0, len(NETWORK) - 4, 37))
def test_a_text_that_is_cut_off_is_refused(network, size):
    network.write_text(NETWORK[:size])
    with pytest.raises(ModelError, match=r"net\.txt"):
        import_relay(network)


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        ("%5 = nn.batch_flatten(%4)", "%5 = nn.batch_flatten(%9)", "'%9'"),
        ("(1, 2, 4, 4)", "(1, 2, ?, ?)", "not fixed"),
        ("%3 = nn.relu(%2)", "%3 = if (%2) { %2 }", "line 10"),
        ("nn.dense(%5, %fc, units=5)", "nn.dense(%5, %fc, units=5) } def @f() {", "function"),
        ("nn.dense(%5, %fc, units=5)", "meta[relay.Constant][3]", "cannot be built"),
        ("%3 = nn.relu(%2)", "%3 = " + "(" * 200 + "%2" + ")" * 200, "nested"),
        ("channels=3", "channels=$", "not Relay"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(network, old, new, fact):
    network.write_text(NETWORK.replace(old, new))
    with pytest.raises(ModelError, match=fact):
        import_relay(network)


def test_arrays_of_all_types_come_back():
    for dtype in ("float32", "float64", "float16", "int8", "int64", "uint8"):
        array = np.arange(6).astype(dtype).reshape(2, 3)
        np.testing.assert_array_equal(read_array(blob(array)), array)
        assert read_named_arrays(saved({"a": array}))["a"].dtype == dtype


def test_a_size_that_does_not_fit_the_shape_is_refused():
    damaged = bytearray(blob(np.zeros((2, 3), np.float32)))
    damaged[32] = 200  # the first extent
    with pytest.raises(ValueError, match="24 bytes"):
        read_array(bytes(damaged))


def test_numbers_have_the_types_of_their_suffixes():
    assert scalar("0.5f") == Scalar(0.5, "float32")
    assert scalar("-3") == Scalar(-3, "int32")
    assert scalar("1e-05f") == Scalar(1e-5, "float32")
    assert scalar("7i64") == Scalar(7, "int64")
    assert scalar("-inff").value == -np.inf


def test_a_call_keeps_operands_attributes_and_line():
    program = parse_relay(
        'def @main(%x: Tensor[(2), float32]) {\n let %y = f(%x, 1f, meta[relay.Constant][2], '
        'a=[1, 2], b="c", d=None);\n %y\n}'
    )
    ((name, call),) = program.bindings
    assert (name, program.result) == ("%y", Local("%y"))
    attributes = {"a": (1, 2), "b": "c", "d": None}
    assert call == Call("f", (Local("%x"), Scalar(1.0, "float32"), Meta(2)), attributes, 2)
