"""Which kernel computes which operations of a model."""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx as tir

_SUFFIXES = ("_codes", "_real")  # of what realize makes of an operation


@dataclass(frozen=True)
class KernelCall:
    """A call of ``function``, a kernel in the library, by the ``operations`` that it computes.

    These have the names of the prepared module, where they come from it. ``arguments`` are the
    shapes and dtypes that it takes, the result last.
    """

    function: str
    operations: frozenset[str]
    arguments: tuple[tuple[tuple[int, ...], str], ...]


def kernel_call(name: str, members: frozenset[str], function: tir.PrimFunc) -> KernelCall:
    """The call of ``function``, ``name`` in its module, for ``members`` of the lowered module."""
    arguments = tuple(
        (tuple(int(extent) for extent in param.ty.shape), str(param.ty.dtype))
        for param in function.params
    )
    return KernelCall(name, frozenset(map(_prepared_name, members)), arguments)


def _prepared_name(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name
