"""Recurrent layers equal their equations in numpy, step by step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from hago.errors import ModelError
from hago.frontend.onnx import import_onnx
from tests.onnx_models import assert_close, node, normal, operators, run, save

STEPS, BATCH, INPUTS, HIDDEN = 5, 2, 3, 4
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn(x, h, c, w, r, wb, rb, p, behind):
    return np.tanh(x @ w.T + h @ r.T + wb + rb), c


def gru(x, h, c, w, r, wb, rb, p, behind):
    (wz, wr, wh), (rz, rr, rh) = np.split(w, 3), np.split(r, 3)
    (wbz, wbr, wbh), (rbz, rbr, rbh) = np.split(wb, 3), np.split(rb, 3)
    z = sigmoid(x @ wz.T + h @ rz.T + wbz + rbz)
    reset = sigmoid(x @ wr.T + h @ rr.T + wbr + rbr)
    inner = reset * (h @ rh.T + rbh) if behind else (reset * h) @ rh.T + rbh
    return (1 - z) * np.tanh(x @ wh.T + inner + wbh) + z * h, c


def lstm(x, h, c, w, r, wb, rb, p, behind):
    i, o, f, g = np.split(x @ w.T + h @ r.T + wb + rb, 4, axis=1)
    pi, po, pf = np.split(p, 3)
    c = sigmoid(f + pf * c) * c + sigmoid(i + pi * c) * np.tanh(g)
    return sigmoid(o + po * c) * np.tanh(c), c


CELLS = {"RNN": rnn, "GRU": gru, "LSTM": lstm}


def expected(op, x, constants, direction="forward", behind=0, layout=0):
    """Y, Y_h and Y_c of the operator's documentation, in float64."""
    x = x.astype(np.float64)
    if layout:
        x = x.transpose(1, 0, 2)
    found, last = [], []
    for number in range(DIRECTIONS[direction]):
        hidden = constants["w"].shape[1] // GATES[op]
        wb, rb = np.split(constants.get("b", np.zeros((2, 2 * GATES[op] * hidden)))[number], 2)
        start = np.zeros((x.shape[1], hidden))
        axis = 1 if layout else 0
        h, c = (np.take(constants[k], number, axis) if k in constants else start for k in "hc")
        p = constants["p"][number] if "p" in constants else np.zeros(3 * hidden)
        backwards = direction == "reverse" or number == 1
        outputs = []
        for step in x[::-1] if backwards else x:
            own = constants["w"][number], constants["r"][number]
            h, c = CELLS[op](step, h, c, *own, wb, rb, p, behind)
            outputs.append(h)
        found.append(outputs[::-1] if backwards else outputs)
        last.append((h, c))
    y = np.array(found).transpose(1, 0, 2, 3)  # seq, directions, batch, hidden
    ends = [np.array([state[which] for state in last]) for which in (0, 1)]
    if layout:
        y, ends = y.transpose(2, 0, 1, 3), [end.transpose(1, 0, 2) for end in ends]
    return [y, *ends]


def layer(op, path, *given, direction="forward", layout=0, outputs="y yh", **attributes):
    """The file of one layer with the optional inputs ``given`` (b, h, c, p), and its constants."""
    count, batched = DIRECTIONS[direction], (BATCH, DIRECTIONS[direction], HIDDEN)
    state = batched if layout else (batched[1], BATCH, HIDDEN)
    shapes = {
        "w": (count, GATES[op] * HIDDEN, INPUTS), "r": (count, GATES[op] * HIDDEN, HIDDEN),
        "b": (count, 2 * GATES[op] * HIDDEN), "h": state, "c": state, "p": (count, 3 * HIDDEN),
    }  # fmt: skip
    names = ["w", "r", "b", "", "h", "c", "p"]
    taken = [name if name in ("w", "r", *given) else "" for name in names]
    constants = {name: normal(*shapes[name], seed=ord(name)) for name in taken if name}
    own = {"direction": direction, "hidden_size": HIDDEN, "layout": layout, **attributes}
    text = " ".join(["x", *(name or "_" for name in taken)])
    x = (BATCH, STEPS, INPUTS) if layout else (STEPS, BATCH, INPUTS)
    save(path, [node(op, text, outputs, **own)], {"x": x}, constants, outputs=outputs)
    return path, constants, normal(*x)


def check(op, path, constants, x, **about):
    for got, exact in zip(run(import_onnx(path), x), expected(op, x, constants, **about),
                          strict=False):  # fmt: skip
        assert_close(got, exact, 64)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("given", ["", "b", "h", "bh"])
@pytest.mark.parametrize("op", GATES)
def test_a_layer_equals_its_equations(tmp_path: Path, op, given, direction) -> None:
    check(op, *layer(op, tmp_path / "m.onnx", *given, direction=direction), direction=direction)


@pytest.mark.parametrize("op", GATES)
def test_batches_may_come_first(tmp_path: Path, op) -> None:
    about = {"direction": "bidirectional", "layout": 1}
    check(op, *layer(op, tmp_path / "m.onnx", "b", "h", **about), **about)


def test_the_memory_of_an_lstm_is_its_third_result(tmp_path: Path) -> None:
    made = layer("LSTM", tmp_path / "m.onnx", "b", "c", outputs="y yh yc")
    check("LSTM", *made)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gates_of_an_lstm_may_see_its_memory(tmp_path: Path, direction) -> None:
    made = layer("LSTM", tmp_path / "m.onnx", "b", "h", "c", "p", direction=direction)
    check("LSTM", *made, direction=direction)


@pytest.mark.parametrize("given", ["", "bh"])
def test_the_reset_gate_may_act_behind_the_product(tmp_path: Path, given) -> None:
    made = layer("GRU", tmp_path / "m.onnx", *given, linear_before_reset=1)
    check("GRU", *made, behind=1)


def test_other_activations(tmp_path: Path) -> None:
    path, constants, x = layer("RNN", tmp_path / "m.onnx", "b", activations=["relu"])
    h, (wb, rb) = np.zeros((BATCH, HIDDEN)), np.split(constants["b"][0], 2)
    for step in x:
        h = np.maximum(step @ constants["w"][0].T + h @ constants["r"][0].T + wb + rb, 0)
    assert_close(run(import_onnx(path), x)[1][0], h, 64)


def test_what_comes_from_outside_is_one_product(tmp_path: Path) -> None:
    path, *_ = layer("LSTM", tmp_path / "m.onnx", "b")
    assert operators(import_onnx(path)).count("matmul") == 1 + STEPS


REFUSED = {
    "clip": ({"clip": 3.0}, "it clips what its gates read"),
    "coupled": ({"input_forget": 1}, "its input and forget gates are coupled"),
    "direction": ({"direction": "sideways"}, "its direction is 'sideways'"),
    "activations": ({"activations": ["Elu", "Tanh", "Tanh"]}, "its activations are Elu"),
}


@pytest.mark.parametrize(("attributes", "told"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_equations_here_is_refused(tmp_path: Path, attributes, told) -> None:
    path, *_ = layer("LSTM", tmp_path / "m.onnx")
    model = onnx.load(path)
    for name, value in attributes.items():
        kept = [each for each in model.graph.node[0].attribute if each.name != name]
        del model.graph.node[0].attribute[:]
        model.graph.node[0].attribute.extend(kept)
        model.graph.node[0].attribute.append(onnx.helper.make_attribute(name, value))
    onnx.save(model, path)
    with pytest.raises(ModelError) as caught:
        import_onnx(path)
    assert told in str(caught.value)


@pytest.mark.parametrize(("lengths", "fine"), [([STEPS, STEPS], True), ([STEPS, 2], False)])
def test_all_sequences_have_one_length(tmp_path: Path, lengths, fine) -> None:
    constants = {"w": normal(1, 4, INPUTS), "r": normal(1, 4, 4), "n": np.array(lengths, np.int32)}
    nodes = [node("RNN", "x w r _ n", "y", hidden_size=4)]
    path = save(tmp_path / "m.onnx", nodes, {"x": (STEPS, 2, INPUTS)}, constants)
    if fine:
        assert "matmul" in operators(import_onnx(path))
        return
    with pytest.raises(ModelError, match="cannot be imported") as caught:
        import_onnx(path)
    assert "its sequences have lengths of their own" in str(caught.value)


def test_more_steps_than_can_be_written_out_are_refused(tmp_path: Path) -> None:
    constants = {"w": normal(1, 4, INPUTS), "r": normal(1, 4, 4)}
    nodes = [node("RNN", "x w r", "y", hidden_size=4)]
    path = save(tmp_path / "m.onnx", nodes, {"x": (2000, 1, INPUTS)}, constants)
    with pytest.raises(ModelError) as caught:
        import_onnx(path)
    assert "2000 steps, of which each is written out: 1024 at most" in str(caught.value)


@pytest.mark.parametrize(("x", "changed", "told"), [
    ((STEPS, 2, 3), {"w": (1, 4, 7)}, "W has shape (1, 4, 7), not (1, 4, 3)"),
    ((STEPS, 2, 3), {"r": (2, 4, 4)}, "R has shape (2, 4, 4), not (1, 4, 4)"),
    ((STEPS, 2, 3), {"b": (1, 7)}, "B has shape (1, 7), not (1, 8)"),
    ((STEPS, 2, 3), {"h": (1, 7, 4)}, "initial_h has shape (1, 7, 4), not (1, 2, 4)"),
    ((STEPS, 3), {}, "X has shape (5, 3), not a sequence of batches"),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_told(tmp_path: Path, x, changed, told) -> None:
    shapes = {"w": (1, 4, 3), "r": (1, 4, 4), "b": (1, 8), "h": (1, 2, 4), **changed}
    constants = {name: normal(*shape) for name, shape in shapes.items()}
    nodes = [node("RNN", "x w r b _ h", "y", hidden_size=4)]
    path = save(tmp_path / "m.onnx", nodes, {"x": x}, constants)
    with pytest.raises(ModelError, match="cannot be imported") as caught:
        import_onnx(path)
    assert told in str(caught.value)
