"""The whole of prepare: the form that all later stages rely on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import ir, relax

from hago.frontend.onnx import import_onnx
from hago.prepare import prepare
from hago.prepare.name_bindings import name_bindings
from tests.onnx_models import assert_close, node, normal, operators, reference, run, save
from tests.relax_modules import const, module

op = relax.op
I64 = np.int64


def names(source: ir.IRModule) -> list[str]:
    return [b.var.name for block in source["main"].body.blocks for b in block.bindings]


def test_values_are_named_after_their_operators_in_program_order() -> None:
    def body(emit, x, y):
        return op.nn.relu(op.add(op.add(op.nn.relu(x), y), op.tanh(y)))

    named = name_bindings(module(body, (2,), (2,)))
    assert names(named) == ["relu", "add", "tanh", "add_1", "relu_1"]
    assert named["main"].body.body.name == "relu_1"


def test_a_name_that_an_input_has_is_not_given_again() -> None:
    add, x = (relax.Var(name, relax.TensorType((2,), "float32")) for name in ("add", "x"))
    builder = relax.BlockBuilder()
    with builder.function("main", [add, x]):
        with builder.dataflow():
            result = builder.emit_output(op.add(add, x))
        builder.emit_func_output(result)
    assert names(name_bindings(builder.get())) == ["add_1"]


def test_naming_twice_changes_nothing() -> None:
    once = name_bindings(module(lambda emit, x: op.add(op.exp(x), op.tanh(x)), (2,)))
    assert name_bindings(once).script() == once.script()


def separable_block(tmp_path: Path) -> Path:
    """conv-bn-relu6, depthwise-bn-hardswish, squeeze-excite, 1x1-bn, residual, pool, linear."""
    constants = {
        **{f"{n}{i}": normal(8, seed=i + 10 * j) for i in range(3) for j, n in enumerate("gbm")},
        **{f"v{i}": normal(8, seed=50 + i) ** 2 + np.float32(0.5) for i in range(3)},
        "w0": normal(8, 3, 3, 3, seed=1) / 5,
        "w1": normal(8, 1, 3, 3, seed=2) / 3,
        "w2": normal(8, 8, 1, 1, seed=3) / 3,
        "squeeze": normal(2, 8, 1, 1, seed=4),
        "excite": normal(8, 2, 1, 1, seed=5),
        "zero": np.float32(0),
        "six": np.float32(6),
        "fc": normal(5, 8 * 4 * 3, seed=6) / 10,
        "fcb": normal(5, seed=7),
    }
    nodes = [
        node("Conv", "x w0", "c0", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c0 g0 b0 m0 v0", "n0"),
        node("Clip", "n0 zero six", "r0"),
        node("Conv", "r0 w1", "c1", pads=[1, 1, 1, 1], group=8),
        node("BatchNormalization", "c1 g1 b1 m1 v1", "n1"),
        node("HardSwish", "n1", "h1"),
        node("GlobalAveragePool", "h1", "p"),
        node("Conv", "p squeeze", "s0"),
        node("Relu", "s0", "s1"),
        node("Conv", "s1 excite", "s2"),
        node("HardSigmoid", "s2", "s3"),
        node("Mul", "h1 s3", "e"),
        node("Conv", "e w2", "c2"),
        node("BatchNormalization", "c2 g2 b2 m2 v2", "n2"),
        node("Add", "r0 n2", "a"),
        node("MaxPool", "a", "m", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Flatten", "m", "f"),
        node("Gemm", "f fc fcb", transB=1),
    ]
    return save(tmp_path / "m.onnx", nodes, {"x": (1, 3, 16, 12)}, constants)


@pytest.fixture
def convolutional(tmp_path: Path) -> Path:
    return separable_block(tmp_path)


def test_a_convolutional_network_moves_data_once_at_its_entry(convolutional: Path) -> None:
    expected = (
        "permute_dims nn.conv2d add clip nn.conv2d add add clip multiply multiply mean nn.conv2d "
        "nn.relu nn.conv2d add clip multiply nn.conv2d add add nn.max_pool2d reshape matmul add"
    )
    assert operators(prepare(import_onnx(convolutional))) == expected.split()


def test_a_convolutional_network_computes_the_same(convolutional: Path) -> None:
    x = normal(1, 3, 16, 12)
    got = run(prepare(import_onnx(convolutional)), x)[0]
    assert_close(got, reference(convolutional, {"x": x})[0], terms=96)


def test_every_spatial_operator_is_channels_last(convolutional: Path) -> None:
    for block in prepare(import_onnx(convolutional))["main"].body.blocks:
        for binding in block.bindings:
            attributes = getattr(binding.value, "attrs", None)
            layout = getattr(attributes, "data_layout", None) or getattr(attributes, "layout", None)
            assert layout in (None, "NHWC")
            assert getattr(attributes, "kernel_layout", "OHWI") == "OHWI"


def attention_layer(tmp_path: Path) -> Path:
    """Embedding, decomposed layer norms, multi-head attention, decomposed GELU, as exported."""
    d, heads, length = 8, 2, 6
    weights = {n: normal(d, d, seed=i) / 3 for i, n in enumerate(("q", "k", "v", "o"))}
    constants = {
        **weights,
        **{f"{n}b": normal(d, seed=20 + i) for i, n in enumerate(weights)},
        "table": normal(11, d, seed=30),
        "gamma": normal(d, seed=31),
        "beta": normal(d, seed=32),
        "two": np.float32(2),
        "eps": np.float32(1e-5),
        "split": np.array([1, length, heads, d // heads], I64),
        "join": np.array([1, length, d], I64),
        "root": np.float32(np.sqrt(d // heads)),
        "up": normal(d, 2 * d, seed=33) / 3,
        "down": normal(2 * d, d, seed=34) / 4,
        "sqrt2": np.float32(np.sqrt(2)),
        "one": np.float32(1),
        "half": np.float32(0.5),
    }
    nodes = [node("Gather", "table x", "e")]
    for n in "qkv":
        nodes += [node("MatMul", f"e {n}", f"{n}1"), node("Add", f"{n}b {n}1", f"{n}2")]
        nodes += [node("Reshape", f"{n}2 split", f"{n}3")]
        order = [0, 2, 3, 1] if n == "k" else [0, 2, 1, 3]
        nodes += [node("Transpose", f"{n}3", f"{n}4", perm=order)]
    nodes += [
        node("MatMul", "q4 k4", "s0"),
        node("Div", "s0 root", "s1"),
        node("Softmax", "s1", "s2", axis=-1),
        node("MatMul", "s2 v4", "c0"),
        node("Transpose", "c0", "c1", perm=[0, 2, 1, 3]),
        node("Reshape", "c1 join", "c2"),
        node("MatMul", "c2 o", "o1"),
        node("Add", "o1 ob", "o2"),
        node("Add", "e o2", "r"),
        node("ReduceMean", "r", "mean", axes=[-1]),
        node("Sub", "r mean", "d"),
        node("Pow", "d two", "d2"),
        node("ReduceMean", "d2", "var", axes=[-1]),
        node("Add", "var eps", "var1"),
        node("Sqrt", "var1", "std"),
        node("Div", "d std", "norm"),
        node("Mul", "norm gamma", "norm1"),
        node("Add", "norm1 beta", "norm2"),
        node("MatMul", "norm2 up", "u"),
        node("Div", "u sqrt2", "g0"),
        node("Erf", "g0", "g1"),
        node("Add", "g1 one", "g2"),
        node("Mul", "u g2", "g3"),
        node("Mul", "g3 half", "g4"),
        node("MatMul", "g4 down"),
    ]
    path = tmp_path / "m.onnx"
    return save(path, nodes, {"x": (1, length)}, constants, opset=13, dtype=7)


def test_a_transformer_arrives_as_high_level_operators(tmp_path: Path) -> None:
    path = attention_layer(tmp_path)
    prepared = prepare(import_onnx(path))
    found = operators(prepared)
    assert {"nn.layer_norm", "nn.gelu", "exp", "take"} <= set(found)
    assert not {"erf", "sqrt", "mean", "nn.softmax"} & set(found)
    ids = np.array([[3, 0, 10, 7, 7, 1]], I64)
    assert_close(run(prepared, ids)[0], reference(path, {"x": ids})[0], terms=64)


@pytest.mark.parametrize("make", [separable_block, attention_layer])
def test_preparing_twice_changes_nothing(tmp_path: Path, make) -> None:
    once = prepare(import_onnx(make(tmp_path)))
    ir.assert_structural_equal(prepare(once), once)
    assert names(prepare(once)) == names(once)


@pytest.mark.parametrize("make", [separable_block, attention_layer])
def test_a_prepared_module_is_one_well_formed_dataflow_block(tmp_path: Path, make) -> None:
    prepared = prepare(import_onnx(make(tmp_path)))
    relax.analysis.well_formed(prepared)
    assert len(prepared["main"].body.blocks) == 1
    assert isinstance(prepared["main"].body.blocks[0], relax.DataflowBlock)
    assert len(set(names(prepared))) == len(names(prepared))


def test_inputs_and_outputs_keep_their_order_and_types(tmp_path: Path) -> None:
    nodes = [node("Conv", "b w", "second"), node("Relu", "a", "first")]
    inputs = {"a": (1, 2, 3, 4), "b": (1, 2, 5, 5)}
    constants = {"w": normal(3, 2, 1, 1)}
    path = save(tmp_path / "m.onnx", nodes, inputs, constants, outputs="first second")
    main = prepare(import_onnx(path))["main"]
    assert [p.name for p in main.params] == ["a", "b"]
    assert list(main.attrs["hago.output_names"]) == ["first", "second"]
    shapes = [[int(d) for d in field.shape] for field in main.ret_ty.fields]
    assert shapes == [[1, 2, 3, 4], [1, 3, 5, 5]]


STEPS = {
    "conv": lambda y: op.nn.conv2d(y, const(normal(3, 3, 3, 3) / 5), padding=1),
    "relu": lambda y: op.nn.relu(y),
    "scale": lambda y: op.multiply(y, const(normal(1, 3, 1, 1))),
    "shift": lambda y: op.add(y, const(normal(1, 3, 1, 1, seed=1))),
    "half": lambda y: op.divide(y, const(2)),
    "swap": lambda y: op.permute_dims(y, [0, 1, 3, 2]),
    "pool": lambda y: op.nn.avg_pool2d(y, [3, 3], padding=1),
    "gate": lambda y: op.multiply(op.sigmoid(op.mean(y, [2, 3], keepdims=True)), y),
    "self gate": lambda y: op.multiply(y, op.sigmoid(y)),
    "reshape": lambda y: op.reshape(op.reshape(y, (1, 3, 16)), (1, 3, 4, 4)),
    "mix": lambda y: op.reshape(op.permute_dims(y, [0, 2, 3, 1]), (1, 3, 4, 4)),
    "norm": lambda y: op.subtract(y, op.mean(y, [1], keepdims=True)),
}


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6), st.booleans())
def test_any_chain_of_operators_computes_the_same_and_settles(
    steps: list[str], is_residual: bool
) -> None:
    def body(emit, x):
        y = x
        for step in steps:
            y = emit(STEPS[step](y))
        return op.add(y, x) if is_residual else y

    source, x = module(body, (1, 3, 4, 4)), normal(1, 3, 4, 4)
    once = prepare(source)
    assert_close(run(once, x)[0], run(source, x)[0], terms=27 * len(steps))
    ir.assert_structural_equal(prepare(once), once, map_free_vars=True)


def test_a_result_that_is_the_input_is_a_named_copy(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [node("Relu", "x")], {"x": (2, 3)}, outputs="y x")
    prepared = prepare(import_onnx(path))
    assert names(prepared) == ["relu", "copy"]
    assert prepare(prepared).script() == prepared.script()


def test_no_value_has_the_name_of_edges_to_results(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [node("Relu", "output")], {"output": (2, 3)})
    prepared = prepare(import_onnx(path))
    assert [param.name for param in prepared["main"].params] == ["output_"]
    assert list(prepared["main"].attrs["hago.input_names"]) == ["output"]
