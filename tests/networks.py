"""Random small ONNX networks for property tests: every operator that networks are made of.

A network is drawn step by step. Each step reads tensors that exist, so that branches, shared
tensors and results that are read inside come about by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from hypothesis import strategies as st

from tests.onnx_models import node, save

Shape = tuple[int, ...]
Draw = Callable[..., object]
I64 = np.int64


@dataclass
class Network:
    """Nodes so far, the shape of each tensor, and constants; weights come from ``seed``."""

    seed: int
    shapes: dict[str, Shape] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    def weight(self, *shape: int, scale: float = 1.0) -> str:
        """A normal constant whose products with unit inputs stay of unit size."""
        name = f"w{len(self.constants)}"
        random = np.random.default_rng((self.seed, len(self.constants)))
        self.constants[name] = (random.normal(size=shape) * scale).astype(np.float32)
        return name

    def constant(self, value: object, dtype: type = np.float32) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def emit(self, op: str, inputs: str, shape: Shape, **attributes: object) -> str:
        """The name of the node's result, which has ``shape``."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(node(op, inputs, name, **attributes))
        self.read.update(inputs.split())
        self.shapes[name] = shape
        return name


Step = Callable[[Draw, Network, str], None]


def _convolution(draw: Draw, net: Network, x: str) -> None:
    n, c, h, w = net.shapes[x]
    kernel = draw(st.sampled_from([k for k in (1, 2, 3) if k <= min(h, w)]))
    stride, pad = draw(st.integers(1, 2)), draw(st.integers(0, kernel - 1))
    groups = draw(st.sampled_from([g for g in (1, c, 2, 3) if c % g == 0]))
    out = groups * draw(st.integers(1, 9 if groups == 1 else 2))
    weight = net.weight(out, c // groups, kernel, kernel, scale=1 / (kernel * (c // groups) ** 0.5))
    bias = f" {net.weight(out, scale=0.3)}" if draw(st.booleans()) else ""
    size = [(extent + 2 * pad - kernel) // stride + 1 for extent in (h, w)]
    net.emit("Conv", f"{x} {weight}{bias}", (n, out, *size), group=groups,
             strides=[stride] * 2, pads=[pad] * 4)  # fmt: skip


def _pool(op: str) -> Step:
    def step(draw: Draw, net: Network, x: str) -> None:
        n, c, h, w = net.shapes[x]
        kernel = draw(st.integers(1, min(3, h, w)))
        stride, pad = draw(st.integers(1, 2)), draw(st.integers(0, kernel // 2))
        size = [(extent + 2 * pad - kernel) // stride + 1 for extent in (h, w)]
        net.emit(op, x, (n, c, *size), kernel_shape=[kernel] * 2, strides=[stride] * 2,
                 pads=[pad] * 4)  # fmt: skip

    return step


def _unary(op: str, **attributes: object) -> Step:
    def step(draw: Draw, net: Network, x: str) -> None:
        net.emit(op, x, net.shapes[x], **attributes)

    return step


def _clip(draw: Draw, net: Network, x: str) -> None:
    low, high = draw(st.sampled_from([(0, 6), (-1, 1), (0, 1), (-0.5, 2)]))
    net.emit("Clip", f"{x} {net.constant(low)} {net.constant(high)}", net.shapes[x])


def _with_another(op: str) -> Step:
    def step(draw: Draw, net: Network, x: str) -> None:
        alike = [name for name, shape in net.shapes.items() if shape == net.shapes[x]]
        pair = [x, draw(st.sampled_from(alike))]
        left, right = pair if draw(st.booleans()) else pair[::-1]
        net.emit(op, f"{left} {right}", net.shapes[x])

    return step


def _with_constant(op: str) -> Step:
    def step(draw: Draw, net: Network, x: str) -> None:
        shape = net.shapes[x]
        channel = (shape[1], 1, 1) if len(shape) == 4 else (shape[-1],)
        other = net.weight(*draw(st.sampled_from([(), channel])))
        order = (x, other) if draw(st.booleans()) else (other, x)
        net.emit(op, " ".join(order), shape)

    return step


def _concat(draw: Draw, net: Network, x: str) -> None:
    shape, axis = net.shapes[x], 1 if len(net.shapes[x]) > 1 else 0
    rest = (*shape[:axis], *shape[axis + 1 :])
    fitting = [n for n, s in net.shapes.items()
               if len(s) == len(shape) and (*s[:axis], *s[axis + 1 :]) == rest]  # fmt: skip
    parts = [x, *draw(st.lists(st.sampled_from(fitting), min_size=1, max_size=2))]
    total = sum(net.shapes[part][axis] for part in parts)
    net.emit("Concat", " ".join(parts), (*shape[:axis], total, *shape[axis + 1 :]), axis=axis)


def _global_pool(draw: Draw, net: Network, x: str) -> None:
    n, c, _, _ = net.shapes[x]
    net.emit("GlobalAveragePool", x, (n, c, 1, 1))


def _flatten(draw: Draw, net: Network, x: str) -> None:
    n, *rest = net.shapes[x]
    net.emit("Flatten", x, (n, int(np.prod(rest))))


def _to_rows(draw: Draw, net: Network, x: str) -> None:
    """[n, c, h, w] to [n, h w, c], as vision transformers do."""
    n, c, h, w = net.shapes[x]
    flat = net.emit("Reshape", f"{x} {net.constant((n, c, h * w), I64)}", (n, c, h * w))
    net.emit("Transpose", flat, (n, h * w, c), perm=[0, 2, 1])


def _transpose(draw: Draw, net: Network, x: str) -> None:
    shape = net.shapes[x]
    order = draw(st.permutations(range(1, len(shape))))
    net.emit("Transpose", x, (shape[0], *(shape[i] for i in order)), perm=[0, *order])


def _slice(draw: Draw, net: Network, x: str) -> None:
    shape = net.shapes[x]
    axis = draw(st.integers(1, len(shape) - 1))
    start = draw(st.integers(0, shape[axis] - 1))
    end = draw(st.integers(start + 1, shape[axis]))
    numbers = " ".join(net.constant([v], I64) for v in (start, end, axis))
    net.emit("Slice", f"{x} {numbers}", (*shape[:axis], end - start, *shape[axis + 1 :]))


def _matmul(draw: Draw, net: Network, x: str) -> None:
    shape, out = net.shapes[x], draw(st.integers(1, 9))
    weight = net.weight(shape[-1], out, scale=shape[-1] ** -0.5)
    net.emit("MatMul", f"{x} {weight}", (*shape[:-1], out))


def _linear(draw: Draw, net: Network, x: str) -> None:
    n, k = net.shapes[x]
    out, transposed = draw(st.integers(1, 9)), draw(st.booleans())
    weight = net.weight(*((out, k) if transposed else (k, out)), scale=k**-0.5)
    net.emit("Gemm", f"{x} {weight} {net.weight(out)}", (n, out), transB=int(transposed))


def _attend(draw: Draw, net: Network, x: str) -> None:
    """softmax(x x^T) x, in which a row may see none that come later."""
    n, length, width = net.shapes[x]
    square = (n, length, length)
    turned = net.emit("Transpose", x, (n, width, length), perm=[0, 2, 1])
    scores = net.emit("MatMul", f"{x} {turned}", square)
    later = np.triu(np.ones((length, length), bool), 1)
    mask = draw(st.sampled_from(["none", "added", "chosen"]))
    if mask == "added":
        added = net.constant(np.where(later, -np.inf, 0.0))
        scores = net.emit("Add", f"{scores} {added}", square)
    elif mask == "chosen":
        low = net.constant(draw(st.sampled_from([-np.inf, -3e38])))
        scores = net.emit("Where", f"{net.constant(later, bool)} {low} {scores}", square)
    weights = net.emit("Softmax", scores, square, axis=-1)
    net.emit("MatMul", f"{weights} {x}", (n, length, width))


def _softmax(draw: Draw, net: Network, x: str) -> None:
    net.emit("Softmax", x, net.shapes[x], axis=-1)


def _layer_norm(draw: Draw, net: Network, x: str) -> None:
    width = net.shapes[x][-1]
    numbers = f"{net.weight(width)} {net.weight(width)}"
    net.emit("LayerNormalization", f"{x} {numbers}", net.shapes[x], axis=-1)


def _rms_norm(draw: Draw, net: Network, x: str) -> None:
    """x / sqrt(mean(x^2) + epsilon) times a weight, in parts."""
    shape = net.shapes[x]
    column = (*shape[:-1], 1)
    square = net.emit("Pow", f"{x} {net.constant(np.array(2.0))}", shape)
    mean = net.emit("ReduceMean", square, column, axes=[-1])
    shifted = net.emit("Add", f"{mean} {net.constant(np.array(1e-3))}", column)
    root = net.emit("Sqrt", shifted, column)
    normal = net.emit("Div", f"{x} {root}", shape)
    net.emit("Mul", f"{normal} {net.weight(shape[-1])}", shape)


def _group_norm(draw: Draw, net: Network, x: str) -> None:
    """Rows that hold the channels of a group, as PyTorch writes it; a group a channel is an
    instance norm."""
    shape = net.shapes[x]
    n, c, h, w = shape
    groups = draw(st.sampled_from([g for g in (1, 2, 3, c) if c % g == 0]))
    rows = (n, groups, c // groups * h * w)
    data = x if groups == c else net.emit("Reshape", f"{x} {net.constant(rows, I64)}", rows)
    numbers = f"{net.constant(np.ones(groups))} {net.constant(np.zeros(groups))}"
    normal = net.emit("InstanceNormalization", f"{data} {numbers}", net.shapes[data], epsilon=0.01)
    if groups != c:
        normal = net.emit("Reshape", f"{normal} {net.constant(shape, I64)}", shape)
    scaled = net.emit("Mul", f"{normal} {net.weight(c, 1, 1)}", shape)
    net.emit("Add", f"{scaled} {net.weight(c, 1, 1)}", shape)


def _batch_norm(draw: Draw, net: Network, x: str) -> None:
    c = net.shapes[x][1]
    numbers = " ".join(net.weight(c, scale=0.5) for _ in range(3))
    variance = net.constant(np.linspace(0.5, 2, c))
    net.emit("BatchNormalization", f"{x} {numbers} {variance}", net.shapes[x])


def _gelu(draw: Draw, net: Network, x: str) -> None:
    """0.5 x (1 + erf(x / sqrt 2)), as exporters write it."""
    shape = net.shapes[x]
    root = net.emit("Div", f"{x} {net.constant(np.sqrt(2))}", shape)
    error = net.emit("Erf", root, shape)
    one = net.emit("Add", f"{error} {net.constant(1)}", shape)
    product = net.emit("Mul", f"{x} {one}", shape)
    net.emit("Mul", f"{product} {net.constant(0.5)}", shape)


def _split(draw: Draw, net: Network, x: str) -> None:
    """Two parts along an axis; of an extent of 1, nothing."""
    shape = net.shapes[x]
    axis = draw(st.integers(1, len(shape) - 1))
    if shape[axis] == 1:
        return
    first = draw(st.integers(1, shape[axis] - 1))
    sizes = (first, shape[axis] - first)
    names = [f"t{len(net.nodes)}{side}" for side in "ab"]
    inputs = f"{x} {net.constant(sizes, I64)}"
    net.nodes.append(node("Split", inputs, " ".join(names), axis=axis))
    net.read.add(x)
    for name, size in zip(names, sizes, strict=True):
        net.shapes[name] = (*shape[:axis], size, *shape[axis + 1 :])


def _pad(draw: Draw, net: Network, x: str) -> None:
    n, c, h, w = net.shapes[x]
    top, left, bottom, right = (draw(st.integers(0, 2)) for _ in range(4))
    widths = net.constant([0, 0, top, left, 0, 0, bottom, right], I64)
    value = net.constant(draw(st.sampled_from([0.0, 0.5])))
    shape = (n, c, h + top + bottom, w + left + right)
    mode = draw(st.sampled_from(["constant", "edge"]))
    net.emit("Pad", f"{x} {widths} {value}", shape, mode=mode)


def _mean(draw: Draw, net: Network, x: str) -> None:
    shape, keeps = net.shapes[x], draw(st.booleans())
    axis = draw(st.integers(1, len(shape) - 1))
    kept = (1,) if keeps else ()
    shape = (*shape[:axis], *kept, *shape[axis + 1 :])
    net.emit("ReduceMean", x, shape, axes=[axis], keepdims=int(keeps))


def _upsample(draw: Draw, net: Network, x: str) -> None:
    n, c, h, w = net.shapes[x]
    scales = net.constant([1, 1, 2, 2])
    net.emit("Resize", f"{x} _ {scales}", (n, c, 2 * h, 2 * w), mode="nearest",
             coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip


def _gate(draw: Draw, net: Network, x: str) -> None:
    """x * sigmoid(mean(x)), as squeeze-and-excite does."""
    n, c, _, _ = net.shapes[x]
    pooled = net.emit("GlobalAveragePool", x, (n, c, 1, 1))
    gate = net.emit("Sigmoid", pooled, (n, c, 1, 1))
    net.emit("Mul", f"{gate} {x}", net.shapes[x])


ANY: tuple[Step, ...] = (
    _unary("Relu"), _unary("Sigmoid"), _unary("Tanh"), _unary("LeakyRelu", alpha=0.1),
    _clip, _gelu, _with_another("Add"), _with_another("Mul"), _with_another("Sub"),
    _with_constant("Add"), _with_constant("Mul"), _concat, _slice, _transpose, _split,
)  # fmt: skip
IMAGE: tuple[Step, ...] = (
    _convolution, _convolution, _convolution, _pool("MaxPool"), _pool("AveragePool"),
    _unary("HardSwish"), _global_pool, _flatten, _to_rows, _batch_norm, _group_norm, _pad,
    _upsample, _gate, _mean,
)  # fmt: skip
ROWS: tuple[Step, ...] = (_matmul, _matmul, _attend, _layer_norm, _rms_norm, _softmax, _mean)
TABLE: tuple[Step, ...] = (_linear, _linear, _matmul, _softmax, _layer_norm, _rms_norm)
STEPS = {4: (*IMAGE, *ANY), 3: (*ROWS, *ANY), 2: (*TABLE, *ANY)}
_LARGEST = 600  # elements of a tensor: few enough that no code lies on a tie in most networks


@st.composite
def networks(draw: Draw, steps: int = 7) -> Network:
    """A network of at least one step that computes from the input ``x``."""
    net = Network(draw(st.integers(0, 2**16)))
    shape = draw(
        st.one_of(
            st.tuples(st.just(1), st.integers(1, 6), st.integers(3, 7), st.integers(3, 7)),
            st.tuples(st.just(1), st.integers(2, 6), st.integers(2, 9)),
            st.tuples(st.integers(1, 3), st.integers(2, 9)),
        )
    )
    net.shapes["x"] = shape
    for _ in range(draw(st.integers(1, steps))):
        small = [name for name, s in net.shapes.items() if np.prod(s) <= _LARGEST]
        x = draw(st.sampled_from(small[-3:]))
        draw(st.sampled_from(STEPS[len(net.shapes[x])]))(draw, net, x)
    if not net.nodes:
        _unary("Relu")(draw, net, "x")
    return net


@st.composite
def results(draw: Draw, net: Network) -> list[str]:
    """Every tensor that nothing reads, and perhaps one that is read, or the input itself."""
    unread = [name for name in net.shapes if name not in net.read and name != "x"]
    more = draw(st.sets(st.sampled_from(list(net.shapes)), max_size=1))
    return list(dict.fromkeys([*unread, *more]))


def save_network(path: Path, net: Network, outputs: list[str]) -> Path:
    """The network as an ONNX file."""
    return save(path, net.nodes, {"x": net.shapes["x"]}, net.constants, outputs=" ".join(outputs))
