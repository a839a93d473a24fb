"""A template: a way to build the kernels of one kind of workload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hago.codegen.epilogue import Epilogue
from hago.codegen.workload import Kernel


@dataclass(frozen=True)
class Template:
    """``build(workload, epilogue, machine)`` makes kernels for workloads of ``kind`` where
    ``applies(workload, machine)``; the machine is a CPU's ``Machine`` or a GPU's ``Device``."""

    kind: type
    applies: Callable[[Any, Any], bool]
    build: Callable[[Any, Epilogue, Any], Kernel]


def always(workload: object, machine: object) -> bool:
    """For templates that compute every workload of their kind."""
    return True
