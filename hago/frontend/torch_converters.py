"""Operators that TVM's importer of torch.export does not know, or reads in another way.

A converter takes the node of the program and the importer, and gives Relax. The type of a node's
result is what PyTorch says that it is, ``node.meta["val"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tvm import relax

Converter = Callable[[Any, Any], Any]


def _arithmetic(operator: Callable[..., relax.Expr]) -> Converter:
    """Both operands in the type of the result: that of integers and a fraction is float32."""

    def convert(node: Any, importer: Any) -> relax.Expr:
        dtype = str(node.meta["val"].dtype).removeprefix("torch.")

        def typed(value: Any) -> relax.Expr:
            if not isinstance(value, relax.Expr):
                return relax.const(value, dtype)
            same = str(value.ty.dtype) == dtype
            return value if same else importer.block_builder.emit(relax.op.astype(value, dtype))

        left, right = map(typed, importer.retrieve_args(node)[:2])
        factor = node.kwargs.get("alpha", 1)
        if factor != 1:
            right = importer.block_builder.emit(relax.op.multiply(right, typed(factor)))
        return importer.block_builder.emit(operator(left, right))

    return convert


def _over_axes(reduce: Callable[..., relax.Expr]) -> Converter:
    """An extreme over some axes, or over all of them."""

    def convert(node: Any, importer: Any) -> relax.Expr:
        data, *rest = importer.retrieve_args(node)
        axes = rest[0] if rest else []
        keepdims = len(rest) > 1 and bool(rest[1])
        return importer.block_builder.emit(reduce(data, axes or None, keepdims))

    return convert


def _nearest(node: Any, importer: Any) -> relax.Expr:
    """The pixel at ``floor(place * ratio)``, without half pixels."""
    data, size = importer.env[node.args[0]], node.meta["val"].shape[2:]
    resized = relax.op.image.resize2d(
        data, tuple(map(int, size)), layout="NCHW", method="nearest_neighbor",
        coordinate_transformation_mode="asymmetric", rounding_method="floor",
    )  # fmt: skip
    return importer.block_builder.emit(resized)


def _group_norm(node: Any, importer: Any) -> relax.Expr:
    """Of a module without parameters, too: they are None then."""
    data, gamma, beta, _, channels, _, groups, epsilon = node.args

    def parameter(given: Any, value: float) -> relax.Expr:
        default = relax.const(np.full(channels, value, np.float32))
        return default if given is None else importer.env[given]

    axes = list(range(2, node.args[0].meta["val"].ndim))
    normal = relax.op.nn.group_norm(
        importer.env[data], parameter(gamma, 1.0), parameter(beta, 0.0), groups, 1, axes, epsilon
    )
    return importer.block_builder.emit(normal)


_ARITHMETIC = {
    "add": relax.op.add,
    "sub": relax.op.subtract,
    "mul": relax.op.multiply,
    "div": relax.op.divide,
}
CONVERTERS: Mapping[str, Converter] = {
    **{
        f"{name}.{kind}": _arithmetic(operator)
        for name, operator in _ARITHMETIC.items()
        for kind in ("Tensor", "Scalar")
    },
    "native_group_norm.default": _group_norm,
    "amax.default": _over_axes(relax.op.max),
    "amin.default": _over_axes(relax.op.min),
    "upsample_nearest2d.vec": _nearest,
}
