"""Converters for RNN, GRU and LSTM: a sequence of one length, its steps written out.

What the steps read from outside is multiplied in one product for all of them, which is as fast as
any other layer of so many rows; one product a step is left, of the hidden state.

Source: ONNX operators, RNN-14, GRU-14 and LSTM-14, whose equations and names these are. Before
opset 14 there was no ``layout``, else they are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import relax

from hago.frontend.onnx_node import (
    Array,
    Node,
    NotConvertible,
    constant,
    constant_of,
    converts,
    static_shape,
)

_MOST_STEPS = 1024
_ACTIVATIONS: dict[str, Callable[[relax.Expr], relax.Expr]] = {
    "Sigmoid": relax.op.sigmoid,
    "Tanh": relax.op.tanh,
    "Relu": relax.op.nn.relu,
}
_SEQUENCE_LENGTHS = 4  # the input
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}

State = tuple[relax.Expr, ...]


@dataclass(frozen=True, eq=False)
class _Cell:
    """One direction of a layer with gates of ``hidden`` units.

    ``inside`` [hidden, gates * hidden] multiplies the hidden state; the bias ``outer`` is added to
    what comes from outside, ``inner`` to the product inside. ``peepholes`` are of an LSTM.
    """

    node: Node
    hidden: int
    inside: Array
    outer: Array
    inner: Array
    activations: Sequence[str]
    peepholes: Array | None = None

    def emit(self, expr: relax.Expr) -> relax.Expr:
        return self.node.emit(expr)

    def activate(self, which: int, value: relax.Expr) -> relax.Expr:
        return self.emit(_ACTIVATIONS[self.activations[which]](value))

    def gates(self, values: relax.Expr, first: int, count: int = 1) -> relax.Expr:
        """``count`` gates of ``values`` [batch, gates * hidden] from ``first`` on."""
        bounds = first * self.hidden, (first + count) * self.hidden
        return self.emit(relax.op.strided_slice(values, [1], [bounds[0]], [bounds[1]]))

    def add(self, left: relax.Expr, right: relax.Expr) -> relax.Expr:
        return self.emit(relax.op.add(left, right))

    def times(self, left: relax.Expr, right: relax.Expr) -> relax.Expr:
        return self.emit(relax.op.multiply(left, right))

    def product(self, state: relax.Expr, first: int, count: int) -> relax.Expr:
        """The product of the hidden state for ``count`` gates, with its bias."""
        columns = slice(first * self.hidden, (first + count) * self.hidden)
        weight = constant(np.ascontiguousarray(self.inside[:, columns]))
        total = self.emit(relax.op.matmul(state, weight))
        bias = self.inner[columns]
        return self.add(total, constant(bias)) if bias.any() else total


Step = Callable[[_Cell, relax.Expr, State], State]


@converts("RNN")
def rnn(node: Node) -> tuple[relax.Expr, ...]:
    """H = f(X W^T + H R^T + Wb + Rb)."""
    return _layer(node, _rnn_step, gates=1, activations=("Tanh",))


@converts("GRU")
def gru(node: Node) -> tuple[relax.Expr, ...]:
    """Update, reset and hidden gate; the reset gate acts before or behind the product."""
    step = _gru_step_behind if node.number("linear_before_reset", 0) else _gru_step
    return _layer(node, step, gates=3, activations=("Sigmoid", "Tanh"), inner=2)


@converts("LSTM")
def lstm(node: Node) -> tuple[relax.Expr, ...]:
    """Input, output, forget and cell gate, with peepholes where there are any."""
    if node.number("input_forget", 0):
        raise NotConvertible("its input and forget gates are coupled")
    return _layer(node, _lstm_step, gates=4, activations=("Sigmoid", "Tanh", "Tanh"), states=2)


def _rnn_step(cell: _Cell, given: relax.Expr, state: State) -> State:
    return (cell.activate(0, cell.add(given, cell.product(state[0], 0, 1))),)


def _gru_step(cell: _Cell, given: relax.Expr, state: State) -> State:
    """ht = g(Xt Wh^T + (rt . Ht-1) Rh^T + Rbh + Wbh)"""
    (hidden,) = state
    update, reset = _gru_gates(cell, given, hidden)
    inside = cell.product(cell.times(reset, hidden), 2, 1)
    return _gru_hidden(cell, given, inside, update, hidden)


def _gru_step_behind(cell: _Cell, given: relax.Expr, state: State) -> State:
    """ht = g(Xt Wh^T + (rt . (Ht-1 Rh^T + Rbh)) + Wbh)"""
    (hidden,) = state
    update, reset = _gru_gates(cell, given, hidden)
    inside = cell.times(reset, cell.product(hidden, 2, 1))
    return _gru_hidden(cell, given, inside, update, hidden)


def _gru_gates(cell: _Cell, given: relax.Expr, hidden: relax.Expr) -> State:
    both = cell.add(cell.gates(given, 0, 2), cell.product(hidden, 0, 2))
    active = cell.activate(0, both)
    return cell.gates(active, 0), cell.gates(active, 1)


def _gru_hidden(
    cell: _Cell, given: relax.Expr, inside: relax.Expr, update: relax.Expr, hidden: relax.Expr
) -> State:
    """Ht = (1 - zt) . ht + zt . Ht-1, as ht + zt . (Ht-1 - ht)."""
    new = cell.activate(1, cell.add(cell.gates(given, 2), inside))
    change = cell.emit(relax.op.subtract(hidden, new))
    return (cell.add(new, cell.times(update, change)),)


def _lstm_step(cell: _Cell, given: relax.Expr, state: State) -> State:
    hidden, memory = state
    sums = cell.add(given, cell.product(hidden, 0, 4))
    new = cell.activate(1, cell.gates(sums, 3))
    if cell.peepholes is None:
        active = cell.activate(0, cell.gates(sums, 0, 3))
        into, out, forget = (cell.gates(active, gate) for gate in range(3))
    else:
        of_input, of_output, of_forget = map(constant, np.split(cell.peepholes, 3))
        into = cell.activate(0, cell.add(cell.gates(sums, 0), cell.times(memory, of_input)))
        forget = cell.activate(0, cell.add(cell.gates(sums, 2), cell.times(memory, of_forget)))
    memory = cell.add(cell.times(forget, memory), cell.times(into, new))
    if cell.peepholes is not None:
        out = cell.activate(0, cell.add(cell.gates(sums, 1), cell.times(memory, of_output)))
    return cell.times(out, cell.activate(2, memory)), memory


def _layer(
    node: Node, step: Step, gates: int, activations: Sequence[str], states: int = 1, inner: int = 0
) -> tuple[relax.Expr, ...]:
    """Y [seq, directions, batch, hidden] and the last states [directions, batch, hidden].

    From gate ``inner`` on the bias of the product inside stays there; 0: that of none.
    """
    _check(node, gates)
    is_batch_first = bool(node.number("layout", 0))
    data = node.input(0)
    if is_batch_first:
        data = node.emit(relax.op.permute_dims(data, [1, 0, 2]))
    batch = static_shape(data)[1]
    sequences: list[list[relax.Expr]] = []
    last: list[State] = []
    backwards = _DIRECTIONS[node.text("direction", "forward")]
    names = _activations(node, activations, len(backwards))
    for number, is_reverse in enumerate(backwards):
        cell = _cell(node, number, gates, inner, names[number])
        state = tuple(
            _initial(node, 5 + which, number, (batch, cell.hidden), is_batch_first)
            for which in range(states)
        )
        outputs = []
        for given in _steps(cell, data, number, is_reverse):
            state = step(cell, given, state)
            outputs.append(state[0])
        sequences.append(outputs[::-1] if is_reverse else outputs)
        last.append(state)
    # [directions, batch, hidden] of each step, and of each state.
    steps = [_stacked(node, outputs) for outputs in zip(*sequences, strict=True)]
    whole, ends = _stacked(node, steps), [_stacked(node, each) for each in zip(*last, strict=True)]
    if is_batch_first:
        whole = node.emit(relax.op.permute_dims(whole, [2, 0, 1, 3]))
        ends = [node.emit(relax.op.permute_dims(end, [1, 0, 2])) for end in ends]
    return (whole, *ends)[: max(node.outputs, 1)]


def _cell(
    node: Node, number: int, gates: int, inner: int, activations: Sequence[str]
) -> _Cell:
    """The direction ``number`` of the layer."""
    inside = node.array(2)[number].T
    hidden = len(inside)
    bias = np.zeros(2 * gates * hidden) if not node.has(3) else node.array(3)[number]
    of_data, of_state = np.split(bias.astype(np.float32), 2)
    stays = np.arange(gates * hidden) >= (inner or gates) * hidden
    return _Cell(
        node, hidden, inside, of_data + np.where(stays, 0, of_state), np.where(stays, of_state, 0),
        activations, _peepholes(node, number),
    )  # fmt: skip


def _steps(
    cell: _Cell, data: relax.Expr, number: int, is_reverse: bool
) -> Iterator[relax.Expr]:
    """What each step reads from outside, [batch, gates * hidden], the first step first."""
    weight = constant(cell.node.array(1)[number].T)
    given = cell.add(cell.emit(relax.op.matmul(data, weight)), constant(cell.outer))
    length, *own = static_shape(given)
    for place in reversed(range(length)) if is_reverse else range(length):
        step = cell.emit(relax.op.strided_slice(given, [0], [place], [place + 1]))
        yield cell.emit(relax.op.reshape(step, own))


def _check(node: Node, gates: int) -> None:
    """Raises NotConvertible for what has no steps here, and for shapes that do not fit."""
    direction, is_batch_first = node.text("direction", "forward"), node.number("layout", 0)
    if direction not in _DIRECTIONS:
        raise NotConvertible(f"its direction is '{direction}'")
    if node.attributes.get("clip") is not None:
        raise NotConvertible("it clips what its gates read")
    if len(node.shape(0)) != 3:
        raise NotConvertible(f"X has shape {node.shape(0)}, not a sequence of batches")
    length, batch, inputs = node.shape(0)
    if is_batch_first:
        length, batch = batch, length
    count, hidden = len(_DIRECTIONS[direction]), node.shape(2)[-1]
    state = (batch, count, hidden) if is_batch_first else (count, batch, hidden)
    shapes = {
        1: ("W", (count, gates * hidden, inputs)), 2: ("R", (count, gates * hidden, hidden)),
        3: ("B", (count, 2 * gates * hidden)), 5: ("initial_h", state), 6: ("initial_c", state),
        7: ("P", (count, 3 * hidden)),
    }  # fmt: skip
    for index, (name, shape) in shapes.items():
        if node.has(index) and node.shape(index) != shape:
            raise NotConvertible(f"{name} has shape {node.shape(index)}, not {shape}")
    if length > _MOST_STEPS:
        raise NotConvertible(f"{length} steps, of which each is written out: {_MOST_STEPS} at most")
    if node.has(_SEQUENCE_LENGTHS):
        lengths = constant_of(node.input(_SEQUENCE_LENGTHS))
        if lengths is None or np.any(lengths != length):
            raise NotConvertible("its sequences have lengths of their own")


def _activations(node: Node, default: Sequence[str], directions: int) -> list[Sequence[str]]:
    """Those of each direction."""
    given = node.attributes.get("activations")
    names = [each.decode() for each in given] if given else [*default] * directions  # type: ignore[union-attr]
    known = {name.lower(): name for name in _ACTIVATIONS}
    if len(names) != len(default) * directions or any(n.lower() not in known for n in names):
        raise NotConvertible(f"its activations are {', '.join(names)}")
    spelled = [known[name.lower()] for name in names]
    return [spelled[i : i + len(default)] for i in range(0, len(spelled), len(default))]


def _peepholes(node: Node, number: int) -> Array | None:
    """Those of an LSTM, [3 * hidden]: input, output and forget gate."""
    own: Array | None = node.array(7)[number] if node.op == "LSTM" and node.has(7) else None
    return own if own is not None and own.any() else None


def _initial(
    node: Node, index: int, number: int, shape: tuple[int, int], is_batch_first: bool
) -> relax.Expr:
    """The state [batch, hidden] of a direction before the first step."""
    if not node.has(index):
        return constant(np.zeros(shape, np.float32))
    axis = 1 if is_batch_first else 0
    own = node.emit(relax.op.strided_slice(node.input(index), [axis], [number], [number + 1]))
    return node.emit(relax.op.reshape(own, shape))


def _stacked(node: Node, tensors: Sequence[relax.Expr]) -> relax.Expr:
    """Along a new first axis."""
    shape = (1, *static_shape(tensors[0]))
    rows = [node.emit(relax.op.reshape(each, shape)) for each in tensors]
    return rows[0] if len(rows) == 1 else node.emit(relax.op.concat(rows, axis=0))
