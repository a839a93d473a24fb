"""Which kernel computes which operations of a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hago.codegen.epilogue import Epilogue
from hago.codegen.schedule import Schedule
from hago.codegen.workload import Kernel, Workload

_SUFFIXES = ("_codes", "_real")  # of what realize makes of an operation


@dataclass(frozen=True)
class KernelCall:
    """A call of ``function``, a kernel in the library, by the ``operations`` that it computes.

    These have the names of the prepared module, where they come from it. ``arguments`` are the
    shapes and dtypes that it takes, the result last. ``schedule`` is None where the template chose.
    """

    function: str
    operations: frozenset[str]
    arguments: tuple[tuple[tuple[int, ...], str], ...]
    workload: Workload
    epilogue: Epilogue
    schedule: Schedule | None = None


def kernel_arguments(kernel: Kernel) -> tuple[tuple[tuple[int, ...], str], ...]:
    """The shapes and dtypes that ``kernel`` takes, the result last."""
    return tuple(
        (tuple(int(extent) for extent in param.ty.shape), str(param.ty.dtype))
        for param in kernel.func.params
    )


def prepared_names(members: Iterable[str]) -> frozenset[str]:
    """The operations of the prepared module that became ``members`` of a lowered one."""
    return frozenset(map(_prepared_name, members))


def _prepared_name(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name
