"""Shapes of every kind that templates must take, for hypothesis."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from hago.codegen.workload import Conv2d, Pool2d

# Building a kernel takes about 0.1 s: examples are few, and each is a whole kernel.
FEW = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
# (data, weight): int8_pairs are proven to fit VPMADDUBSW's saturating pairs.
CODES = {"uint8 x int8": ("uint8", "int8"), "uint8 x int8_pairs": ("uint8", "int8_pairs")}
TYPES = {"float32": ("float32", "float32"), **CODES}
# Below, at and above the registers of 8 and 16 lanes and the blocks of 64 bytes.
CHANNELS = st.one_of(st.integers(1, 40), st.sampled_from([48, 63, 64, 65, 80, 96, 130]))


@st.composite
def depthwise(draw: st.DrawFn, types: dict[str, tuple[str, str]] = TYPES) -> Conv2d:
    """A depthwise convolution with any window, stride, dilation and uneven padding."""
    channels = draw(CHANNELS.filter(lambda count: count > 1))
    return _convolution(draw, types, channels, channels, channels)


@st.composite
def convolutions(draw: st.DrawFn, types: dict[str, tuple[str, str]] = TYPES) -> Conv2d:
    """A convolution, some of them grouped, with any window, stride, dilation and padding."""
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    ci, co = draw(st.integers(1, 24)) * groups, draw(st.integers(1, 40)) * groups
    return _convolution(draw, types, ci, co, groups)


def _convolution(
    draw: st.DrawFn, types: dict[str, tuple[str, str]], ci: int, co: int, groups: int
) -> Conv2d:
    data, weight = types[draw(st.sampled_from(sorted(types)))]
    (kh, kw), strides = draw(_pairs(1, 5)), draw(_pairs(1, 3))
    dilation = draw(st.one_of(st.just((1, 1)), _pairs(1, 2)))
    padding = (*draw(_pairs(0, 3)), *draw(_pairs(0, 3)))
    spans = (dilation[0] * (kh - 1) + 1, dilation[1] * (kw - 1) + 1)
    least = [max(1, span - before - after) for span, before, after in zip(
        spans, padding[:2], padding[2:], strict=True)]  # fmt: skip
    h, w = (draw(st.integers(size, size + 8)) for size in least)
    code = 0 if data == "float32" else draw(st.sampled_from([0, 1, 128, 255]))
    return Conv2d(
        draw(st.sampled_from([1, 1, 2])), h, w, ci, co, kh, kw, strides, padding, dilation,
        groups, data, weight, code,
    )  # fmt: skip


@st.composite
def pools(draw: st.DrawFn) -> Pool2d:
    """A pooling of any window with uneven padding, less than the window so that none is empty."""
    window, strides = draw(_pairs(1, 4)), draw(_pairs(1, 3))
    padding = tuple(draw(st.integers(0, size - 1)) for size in (*window, *window))
    h, w = (draw(st.integers(size, size + 6)) for size in window)
    kind, data = st.sampled_from(["max", "avg"]), st.sampled_from(["float32", "uint8", "int8"])
    return Pool2d(
        draw(kind), draw(st.sampled_from([1, 2])), h, w,
        draw(CHANNELS), window, strides, padding, draw(data),
    )  # fmt: skip


def _pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))
